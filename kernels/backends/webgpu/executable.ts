import type { AheadLimits, Executable, FedRuns, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import { checkRun } from "../../spec/state-values.ts";
import { createCommands } from "./commands.ts";
import { advancePositions, outputStretches, prepareProgram } from "./program.ts";
import type { Resources } from "./resources.ts";
import { prepareAhead, type AheadProgram, type ChoiceKind } from "./run-ahead.ts";

/**
 * Turns a plan into pipelines and parameters, and into bind groups with the first run over a state.
 * @throws KernelError `unsupported`, `backend`, `out-of-memory`, `device-lost`
 */
export async function compilePlan(plan: Plan, resources: Resources): Promise<Executable> {
  const { gpu, arena, inTurn, profiler, readback, states } = resources;
  gpu.check();
  const program = await prepareProgram(plan, resources);
  // Fails now, not in the first run, if the device cannot hold the plan.
  await inTurn(() => arena.atLeast(program.layout.size()));
  const ahead = new Map<ChoiceKind, Promise<AheadProgram>>();
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
    program.bind(buffer, gpuState);
    program.setIds(ids);
    program.setPositions(gpuState, state.positions);
    const commands = createCommands(gpu.device, "run");
    const clock = profiler.clockOf(program.steps);
    program.encode(commands, clock);
    const stamps = clock?.resolve(commands.encoder()) ?? [];
    const outputs = wantOutputs ? outputStretches(plan, program, buffer) : [];
    if (outputs.length === 0 && stamps.length === 0) {
      commands.submit();
      await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
      advancePositions(state, plan.length);
      return [];
    }
    const read = await readback.submitAndRead(commands.take(), [...outputs, ...stamps]);
    advancePositions(state, plan.length);
    clock?.book(read.slice(outputs.length));
    return read.slice(0, outputs.length);
  }

  const canChoose =
    plan.length === 1 && plan.outputs.length === 1 && plan.outputs[0] % plan.batch === 0;
  return {
    plan,
    run: (ids, state, wantOutputs) => inTurn(() => run(ids, state, wantOutputs)),
    ...(canChoose && {
      takesChoices: true,
      runAhead: (
        first: Int32Array,
        state: StateBuffers,
        limits: AheadLimits,
        onFed: (runs: FedRuns) => boolean | Promise<boolean>,
      ) =>
        inTurn(async () => {
          expectUsable();
          checkRun(plan, first, state);
          const kind = limits.choices === null ? "greedy" : "sampled";
          const prepared = ahead.get(kind) ?? prepareAhead(kind, plan, resources);
          ahead.set(kind, prepared);
          return await (await prepared).run(first, state, limits, onFed);
        }),
    }),
    release() {
      released = true;
      program.release();
      for (const prepared of ahead.values()) {
        void prepared.then(
          (own) => own.release(),
          // Its failure was the run's.
          () => undefined,
        );
      }
    },
  };
}
