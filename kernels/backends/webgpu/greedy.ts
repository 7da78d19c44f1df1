import type { GreedyRun, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import type { Dispatch } from "../../wgsl/dispatch.ts";
import type { ArenaLayout } from "./arena.ts";
import type { Allocation } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import source from "./greedy.wgsl?raw";
import { advancePositions, outputStretches, prepareProgram } from "./program.ts";
import type { Resources } from "./resources.ts";
import type { GpuState } from "./states.ts";

/** A plan of one token whose last dispatch chooses the next ids (see docs/decisions/0012). */
export interface GreedyProgram {
  /** `Executable.runGreedy`, its operands checked. */
  run(
    first: Int32Array,
    state: StateBuffers,
    limits: { readonly steps: number; readonly stopIds: readonly number[] },
  ): Promise<GreedyRun>;
  release(): void;
}

/**
 * Describes and compiles the plan once more, with the choice behind it.
 * @throws KernelError as `prepareProgram`
 */
export async function prepareGreedy(plan: Plan, resources: Resources): Promise<GreedyProgram> {
  const { gpu, allocator, arena, profiler, readback, shadow, states } = resources;
  const { queue } = gpu.device;
  const { batch } = plan;
  let choice = 0;
  const program = await prepareProgram(plan, resources, (layout) => {
    const greedy = describeGreedy(plan, layout, gpu);
    choice = greedy.choice;
    return greedy.dispatches;
  });
  let history: Allocation | null = null;

  /** (steps, B) i32: the choices of a run. */
  async function historyOf(steps: number): Promise<GPUBuffer> {
    const bytes = steps * batch * 4;
    if (history !== null && history.bytes >= bytes) return history.buffer;
    history?.release();
    history = null;
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    history = await allocator.allocateChecked("choices", bytes, usage, "workspace");
    return history.buffer;
  }

  /** Feeds `first` and then what is chosen; gives the ids that were fed, and the last outputs. */
  async function feed(
    first: Int32Array,
    from: Int32Array,
    state: GpuState,
    steps: number,
  ): Promise<GreedyRun> {
    const buffer = await arena.atLeast(program.layout.size());
    program.bind(buffer, state);
    const choices = await historyOf(steps);
    queue.writeBuffer(program.ids, 0, new Int32Array(first));
    const positions = Int32Array.from(from);
    for (let step = 0; step < steps; step++) {
      program.setPositions(state, positions);
      const encoder = gpu.device.createCommandEncoder({ label: "greedy step" });
      const clock = profiler.clockOf(program.steps);
      program.encode(encoder, clock);
      encoder.copyBufferToBuffer(buffer, choice * 4, program.ids, 0, batch * 4);
      encoder.copyBufferToBuffer(buffer, choice * 4, choices, step * batch * 4, batch * 4);
      // Submitted one by one: the device computes this step while the next is encoded.
      if (clock === null) queue.submit([encoder.finish()]);
      else clock.book(await readback.submitAndRead(encoder, clock.resolve(encoder)));
      positions.forEach((position, b) => (positions[b] = position + 1));
    }
    const [words, ...outputs] = await readback.submitAndRead(
      gpu.device.createCommandEncoder({ label: "read choices" }),
      [
        { buffer: choices, offset: 0, bytes: steps * batch * 4 },
        ...outputStretches(plan, program, buffer),
      ],
    );
    const chosen = new Int32Array(words.buffer, words.byteOffset, words.length);
    const fed = Int32Array.of(...first, ...chosen.subarray(0, (steps - 1) * batch));
    return { fed, outputs };
  }

  /** Whether there is memory to go back with; without it runs are made one at a time. */
  async function canGoBack(state: GpuState): Promise<boolean> {
    try {
      await shadow.fit(state);
      return true;
    } catch (error) {
      if (error instanceof KernelError && error.code === "out-of-memory") return false;
      throw error;
    }
  }

  return {
    async run(first, state, { steps, stopIds }) {
      const stops = new Set(stopIds);
      const gpuState = await states.use(state, steps);
      const isLast = first.some((id) => stops.has(id));
      const wanted = steps > 1 && !isLast && (await canGoBack(gpuState)) ? steps : 1;
      if (wanted > 1) submit((encoder) => shadow.save(encoder, gpuState));
      let run = await feed(first, state.positions, gpuState, wanted);
      const right = rightRuns(run.fed, batch, stops);
      if (right < wanted) {
        submit((encoder) => shadow.restore(encoder, gpuState));
        run = await feed(first, state.positions, gpuState, right);
      }
      advancePositions(state, right);
      return run;
    },
    release() {
      program.release();
      history?.release();
    },
  };

  function submit(record: (encoder: GPUCommandEncoder) => void): void {
    const encoder = gpu.device.createCommandEncoder({ label: "shadow state" });
    record(encoder);
    queue.submit([encoder.finish()]);
  }
}

/** Runs up to the first that fed a stop id, or to the last before one that was fed no id at all. */
function rightRuns(fed: Int32Array, batch: number, stops: ReadonlySet<number>): number {
  const end = fed.findIndex((id) => id < 0 || stops.has(id));
  if (end === -1) return fed.length / batch;
  const run = Math.floor(end / batch);
  return fed.subarray(run * batch, (run + 1) * batch).some((id) => id < 0) ? run : run + 1;
}

/** Logits that one workgroup looks through. */
const PIECE = 4096;

/** Chooses each sequence's next id from the plan's only output, (B, vocab). */
function describeGreedy(
  plan: Plan,
  layout: ArenaLayout,
  { info }: GpuDevice,
): { readonly dispatches: readonly Dispatch[]; readonly choice: number } {
  const { batch } = plan;
  const vocab = plan.outputs[0] / batch;
  const pieces = Math.ceil(vocab / PIECE);
  layout.beginCall();
  const choice = layout.scratch(batch);
  const best = layout.scratch(2 * batch * pieces);
  const common = {
    shader: { name: "greedy", parts: [source] },
    // A CPU that plays a GPU has few threads, and waits long at barriers.
    constants: { THREADS: info.software ? 32 : 256 },
    params: [layout.output(0), vocab, PIECE, pieces, best, choice],
    reads: [],
    state: null,
  };
  return {
    choice,
    dispatches: [
      { ...common, entryPoint: "greedy_pieces", workgroups: [pieces, batch, 1] },
      { ...common, entryPoint: "greedy", workgroups: [batch, 1, 1] },
    ],
  };
}
