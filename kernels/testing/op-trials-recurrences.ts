import { mlstm } from "../ops/mlstm/mlstm.ts";
import { rgLru } from "../ops/rg-lru/rg-lru.ts";
import type { Backend } from "../spec/backend.ts";
import { runOp, type OpResult } from "./op-runner.ts";
import { seeded } from "./seeded.ts";

/** Griffin's and xLSTM's recurrences; see op-trials.ts. */
export const recurrenceTrials: Readonly<
  Record<string, (backend: Backend) => Promise<OpResult<string>>>
> = {
  "rg-lru": (backend) => {
    const random = seeded(41);
    return runOp(backend, {
      batch: 2,
      length: 5,
      inputs: {
        x: { cols: 18, values: random.normal(180) },
        recurrenceGate: { cols: 18, values: random.normal(180) },
        inputGate: { cols: 18, values: random.normal(180) },
      },
      states: { state: random.normal(36) },
      weights: { logDecay: { rows: 1, cols: 18, values: random.uniform(18, -9, -0.01) } },
      record: (k, { inputs, states, weights }) => rgLru(k, { ...inputs, ...states, ...weights }),
    });
  },
  mlstm: (backend) => {
    const random = seeded(42);
    return runOp(backend, {
      batch: 2,
      length: 3,
      inputs: {
        q: { cols: 2 * 6, values: random.normal(72) },
        k: { cols: 2 * 6, values: random.normal(72) },
        v: { cols: 2 * 19, values: random.normal(228) },
        inputGate: { cols: 2, values: random.normal(12) },
        forgetGate: { cols: 2, values: random.normal(12) },
      },
      states: { state: random.normal(2 * 2 * (6 * 20 + 1)) },
      weights: {},
      record: (k, { inputs, states }) => mlstm(k, { ...inputs, ...states, nHead: 2, eps: 1e-6 }),
    });
  },
};
