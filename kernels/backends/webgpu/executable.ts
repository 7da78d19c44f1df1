import type { Executable, GreedyRun, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import { checkRun } from "../../spec/state-values.ts";
import type { Arena } from "./arena.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import { describeGreedy } from "./greedy.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Profiler } from "./profiler.ts";
import { advancePositions, prepareProgram, type Program } from "./program.ts";
import type { Readback, Stretch } from "./readback.ts";
import type { States } from "./states.ts";
import type { InTurn } from "./turns.ts";
import type { WeightStore } from "./weights.ts";

/** What executables share on a backend. */
export interface Resources {
  readonly gpu: GpuDevice;
  readonly allocator: Allocator;
  readonly arena: Arena;
  readonly inTurn: InTurn;
  readonly pipelines: Pipelines;
  readonly profiler: Profiler;
  readonly readback: Readback;
  readonly states: States;
  readonly weights: WeightStore;
  /** Bound where an operand is off. */
  readonly unused: GPUBuffer;
}

/**
 * Turns a plan into pipelines, parameters and, at the first run, bind groups. A run then records one compute pass
 * and allocates nothing.
 * @throws KernelError `unsupported`, `backend`, `out-of-memory`, `device-lost`
 */
export async function compilePlan(plan: Plan, resources: Resources): Promise<Executable> {
  const { gpu, arena, inTurn, profiler, readback, states } = resources;
  gpu.check();
  const program = await prepareProgram(plan, resources);
  // Fails now, not in the first run, if the device cannot hold the plan.
  await inTurn(() => arena.atLeast(program.layout.size()));
  let greedy: Promise<GreedyProgram> | null = null;
  let released = false;

  function expectUsable(): void {
    if (released) throw new KernelError("backend", "this executable was released");
    gpu.check();
  }

  async function run(
    ids: Int32Array,
    state: StateBuffers,
    wantOutputs: boolean,
  ): Promise<Float32Array[]> {
    expectUsable();
    checkRun(plan, ids, state);
    const gpuState = await states.use(state, plan.length);
    const buffer = await arena.atLeast(program.layout.size());
    program.bind(buffer);
    gpu.device.queue.writeBuffer(program.ids, 0, new Int32Array(ids));
    program.setPositions(gpuState, state.positions);
    const encoder = gpu.device.createCommandEncoder({ label: "run" });
    const clock = profiler.clockOf(program.steps);
    program.encode(encoder, gpuState, clock);
    const stamps = clock?.resolve(encoder) ?? [];
    const outputs = wantOutputs ? outputStretches(plan, program, buffer) : [];
    if (outputs.length === 0 && stamps.length === 0) {
      gpu.device.queue.submit([encoder.finish()]);
      await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
      advancePositions(state, plan.length);
      return [];
    }
    const read = await readback.submitAndRead(encoder, [...outputs, ...stamps]);
    advancePositions(state, plan.length);
    clock?.book(read.slice(outputs.length));
    return read.slice(0, outputs.length);
  }

  async function runGreedy(
    first: Int32Array,
    state: StateBuffers,
    steps: number,
  ): Promise<GreedyRun> {
    expectUsable();
    checkRun(plan, first, state);
    greedy ??= prepareGreedy(plan, resources);
    const { program: own, choice, history } = await greedy;
    const { queue } = gpu.device;
    const gpuState = await states.use(state, steps);
    const buffer = await arena.atLeast(own.layout.size());
    own.bind(buffer);
    const chosen = await history(steps);
    queue.writeBuffer(own.ids, 0, new Int32Array(first));
    const positions = Int32Array.from(state.positions);
    const bytes = plan.batch * 4;
    for (let step = 0; step < steps; step++) {
      own.setPositions(gpuState, positions);
      const encoder = gpu.device.createCommandEncoder({ label: "greedy step" });
      const clock = profiler.clockOf(own.steps);
      own.encode(encoder, gpuState, clock);
      encoder.copyBufferToBuffer(buffer, choice * 4, own.ids, 0, bytes);
      encoder.copyBufferToBuffer(buffer, choice * 4, chosen, step * bytes, bytes);
      // Submitted one by one: the device computes this step while the next is encoded.
      if (clock === null) queue.submit([encoder.finish()]);
      else clock.book(await readback.submitAndRead(encoder, clock.resolve(encoder)));
      positions.forEach((position, b) => (positions[b] = position + 1));
    }
    const [words, ...outputs] = await readback.submitAndRead(
      gpu.device.createCommandEncoder({ label: "read choices" }),
      [{ buffer: chosen, offset: 0, bytes: steps * bytes }, ...outputStretches(plan, own, buffer)],
    );
    advancePositions(state, steps);
    return { chosen: new Int32Array(words.buffer, words.byteOffset, words.length), outputs };
  }

  const canChoose =
    plan.length === 1 && plan.outputs.length === 1 && plan.outputs[0] % plan.batch === 0;
  return {
    plan,
    run: (ids, state, wantOutputs) => inTurn(() => run(ids, state, wantOutputs)),
    ...(canChoose && {
      runGreedy: (first: Int32Array, state: StateBuffers, steps: number) =>
        inTurn(() => runGreedy(first, state, steps)),
    }),
    release() {
      released = true;
      program.release();
      void greedy?.then(
        (own) => own.release(),
        // Its failure was the run's.
        () => undefined,
      );
    },
  };
}

/** A program whose last dispatch chooses the next ids. */
interface GreedyProgram {
  readonly program: Program;
  /** The arena index of the choices, (B) i32. */
  readonly choice: number;
  /** (steps, B) i32. */
  history(steps: number): Promise<GPUBuffer>;
  release(): void;
}

/** Threads that look for the largest value together: many, as one workgroup a sequence does it; a CPU has none to spare. */
function greedyThreads({ info }: GpuDevice): number {
  if (info.software) return 32;
  return Math.min(1024, info.limits["maxComputeInvocationsPerWorkgroup"] ?? 256);
}

async function prepareGreedy(plan: Plan, resources: Resources): Promise<GreedyProgram> {
  const { gpu, allocator } = resources;
  let choice = 0;
  const program = await prepareProgram(plan, resources, (layout) => {
    const greedy = describeGreedy(plan, layout, greedyThreads(gpu));
    choice = greedy.choice;
    return [greedy.dispatch];
  });
  let chosen: Allocation | null = null;
  return {
    program,
    choice,
    async history(steps) {
      const bytes = steps * plan.batch * 4;
      if (chosen !== null && chosen.bytes >= bytes) return chosen.buffer;
      chosen?.release();
      chosen = null;
      const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      chosen = await allocator.allocateChecked("choices", bytes, usage, "workspace");
      return chosen.buffer;
    },
    release() {
      program.release();
      chosen?.release();
    },
  };
}

function outputStretches(plan: Plan, program: Program, arena: GPUBuffer): Stretch[] {
  return plan.outputs.map((values, index) => ({
    buffer: arena,
    offset: program.layout.output(index) * 4,
    bytes: values * 4,
  }));
}
