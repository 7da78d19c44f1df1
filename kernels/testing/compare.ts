import type { Backend } from "../spec/backend.ts";
import { expectAllClose, type Tolerance } from "./all-close.ts";
import { runOp, type OpTrial } from "./op-runner.ts";
import { openBackend } from "./open-backend.ts";
import { kernelTolerance } from "./tolerances.ts";

/**
 * Runs a trial on a backend and on the reference, and fails unless output and states agree.
 * @param tolerance by default the golden kernels' for this length
 */
export async function expectLikeReference<
  Input extends string,
  State extends string,
  WeightName extends string,
>(
  backend: Backend,
  trial: OpTrial<Input, State, WeightName>,
  tolerance?: Tolerance,
): Promise<void> {
  const reference = await openBackend("reference");
  const expected = await runOp(reference, trial);
  const actual = await runOp(backend, trial);
  expectAllClose(actual.y, expected.y, tolerance ?? kernelTolerance(expected.y, trial.length), "y");
  for (const name of Object.keys(expected.states) as State[]) {
    const state = expected.states[name];
    expectAllClose(
      actual.states[name],
      state,
      tolerance ?? kernelTolerance(state, trial.length),
      `state ${name}`,
    );
  }
  await reference.release();
}
