import { expertLinear } from "../ops/expert-linear/expert-linear.ts";
import { route } from "../ops/route/route.ts";
import type { Backend } from "../spec/backend.ts";
import { runOp, type OpResult } from "./op-runner.ts";
import { randomPacked } from "./pack.ts";
import { seeded } from "./seeded.ts";

type Run = (backend: Backend) => Promise<OpResult<string>>;

/** The ops of mixtures of experts for op-trials.ts. */
export const expertTrials: Readonly<Record<string, Run>> = {
  route: (backend) =>
    runOp(backend, {
      batch: 1,
      length: 3,
      inputs: { scores: { cols: 70, values: seeded(1).normal(210), margin: [1, 2] } },
      states: {},
      weights: { choiceBias: { rows: 1, cols: 70, values: seeded(2).normal(70, 0.1) } },
      record: (k, { inputs, weights }) =>
        route(k, {
          ...inputs,
          ...weights,
          scoring: "sigmoid",
          topK: 5,
          nGroup: 7,
          topKGroup: 2,
          normalise: true,
        }).weights,
    }),
  "expert-linear, few tokens": (backend) => products(backend, 3),
  "expert-linear, many tokens": (backend) => products(backend, 40),
};

function products(backend: Backend, length: number): Promise<OpResult<string>> {
  const [nExpert, outputs, cols, topK] = [4, 13, 64, 2];
  const random = seeded(length);
  return runOp(backend, {
    batch: 1,
    length,
    inputs: {
      x: { cols, values: random.normal(length * cols) },
      experts: {
        cols: topK,
        values: Float32Array.from(random.integers(length * topK, nExpert + 1)),
      },
      weights: { cols: topK, values: random.normal(length * topK) },
      residual: { cols: outputs, values: random.normal(length * outputs) },
    },
    states: {},
    weights: {
      weight: {
        rows: nExpert * outputs,
        cols,
        dtype: "f16",
        values: randomPacked(random, "f16", nExpert * outputs, cols, 0.2),
      },
    },
    record: (k, { inputs, weights }) => expertLinear(k, { ...inputs, ...weights, nExpert }),
  });
}
