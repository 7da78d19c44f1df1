import { activation } from "../ops/activation/activation.ts";
import { attention } from "../ops/attention/attention.ts";
import { blockLinear } from "../ops/block-linear/block-linear.ts";
import { causalConv1d } from "../ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../ops/embedding/embedding.ts";
import { gatedDelta } from "../ops/gated-delta/gated-delta.ts";
import { gatedRmsNorm } from "../ops/gated-rms-norm/gated-rms-norm.ts";
import { gate } from "../ops/gate/gate.ts";
import { layerNorm } from "../ops/layer-norm/layer-norm.ts";
import { linear } from "../ops/linear/linear.ts";
import { rmsNorm } from "../ops/rms-norm/rms-norm.ts";
import { rope } from "../ops/rope/rope.ts";
import { scaledAdd } from "../ops/scaled-add/scaled-add.ts";
import { selectiveScan } from "../ops/selective-scan/selective-scan.ts";
import { ssd } from "../ops/ssd/ssd.ts";
import type { Backend } from "../spec/backend.ts";
import type { WeightDType } from "../spec/dtype.ts";
import { runOp, type GrowingState, type OpResult } from "./op-runner.ts";
import { expertTrials } from "./op-trials-experts.ts";
import { recurrenceTrials } from "./op-trials-recurrences.ts";
import { rwkvTrials } from "./op-trials-rwkv.ts";
import { randomPacked } from "./pack.ts";
import { seeded } from "./seeded.ts";

type Run = (backend: Backend) => Promise<OpResult<string>>;

/** One small call of every op, free of Node, for tests of a whole backend where it will live: a browser's worker. */
export const opTrials: Readonly<Record<string, Run>> = {
  embedding: (backend) => {
    const values = randomPacked(seeded(1), "q8_0", 9, 64, 1);
    return runOp(backend, {
      batch: 2,
      length: 3,
      ids: Int32Array.of(0, 8, 3, 3, 1, 7),
      inputs: {},
      states: {},
      weights: { table: { rows: 9, cols: 64, dtype: "q8_0", values } },
      record: (k, { weights }) => embedding(k, weights.table),
    });
  },
  "rms-norm": (backend) => {
    const random = seeded(2);
    return runOp(backend, {
      batch: 1,
      length: 3,
      inputs: { x: { cols: 70, values: random.normal(210), margin: [1, 4] } },
      states: {},
      weights: { weight: { rows: 1, cols: 70, values: random.normal(70) } },
      record: (k, { inputs, weights }) =>
        rmsNorm(k, { x: inputs.x, weight: weights.weight, eps: 1e-5 }),
    });
  },
  "gated-rms-norm": (backend) => {
    const random = seeded(3);
    return runOp(backend, {
      batch: 1,
      length: 3,
      inputs: {
        x: { cols: 64, values: random.normal(192) },
        z: { cols: 64, values: random.normal(192) },
      },
      states: {},
      weights: { weight: { rows: 1, cols: 64, values: random.normal(64) } },
      record: (k, { inputs, weights }) =>
        gatedRmsNorm(k, {
          x: inputs.x,
          z: inputs.z,
          weight: weights.weight,
          eps: 1e-5,
          groupSize: 32,
        }),
    });
  },
  "rms-norm, by groups": (backend) => {
    const random = seeded(8);
    return runOp(backend, {
      batch: 1,
      length: 2,
      inputs: { x: { cols: 3 * 300, values: random.normal(1800) } },
      states: {},
      weights: { weight: { rows: 1, cols: 300, values: random.normal(300) } },
      record: (k, { inputs, weights }) =>
        rmsNorm(k, { ...inputs, ...weights, eps: 1e-6, groupSize: 300, over: "sum" }),
    });
  },
  "layer-norm": (backend) => {
    const random = seeded(9);
    return runOp(backend, {
      batch: 1,
      length: 2,
      inputs: { x: { cols: 300, values: random.normal(600) } },
      states: {},
      weights: {
        weight: { rows: 1, cols: 300, values: random.normal(300) },
        bias: { rows: 1, cols: 300, values: random.normal(300) },
      },
      record: (k, { inputs, weights }) => layerNorm(k, { ...inputs, ...weights, eps: 1e-5 }),
    });
  },
  activation: (backend) => {
    const random = seeded(10);
    return runOp(backend, {
      batch: 1,
      length: 2,
      inputs: { x: { cols: 70, values: random.normal(140), margin: [1, 2] } },
      states: {},
      weights: { bias: { rows: 1, cols: 70, values: random.normal(70) } },
      record: (k, { inputs, weights }) =>
        activation(k, inputs.x, "gelu", { ...weights, scale: 2, gain: 0.5 }),
    });
  },
  gate: (backend) => {
    const random = seeded(11);
    return runOp(backend, {
      batch: 1,
      length: 2,
      inputs: {
        a: { cols: 5, values: random.normal(10) },
        b: { cols: 65, values: random.normal(130) },
      },
      states: {},
      weights: {},
      record: (k, { inputs }) => gate(k, { ...inputs, act: "sigmoid" }),
    });
  },
  "scaled-add": (backend) => {
    const random = seeded(12);
    return runOp(backend, {
      batch: 1,
      length: 2,
      inputs: {
        a: { cols: 70, values: random.normal(140) },
        b: { cols: 70, values: random.normal(140) },
      },
      states: {},
      weights: { bScale: { rows: 1, cols: 70, values: random.normal(70) } },
      record: (k, { inputs, weights }) => scaledAdd(k, { ...inputs, ...weights, aScale: 0.5 }),
    });
  },
  "block-linear": (backend) => {
    const random = seeded(13);
    return runOp(backend, {
      batch: 1,
      length: 6,
      inputs: { x: { cols: 3 * 64, values: random.normal(6 * 192) } },
      states: {},
      weights: {
        weight: {
          rows: 3 * 5,
          cols: 64,
          dtype: "q8_0",
          values: randomPacked(random, "q8_0", 15, 64, 0.1),
        },
        bias: { rows: 1, cols: 15, values: random.normal(15) },
      },
      record: (k, { inputs, weights }) => blockLinear(k, { ...inputs, ...weights, nBlock: 3 }),
    });
  },
  "linear, one row of f16": (backend) => linearTrial(backend, 1, "f16"),
  "linear, three rows of bf16": (backend) => linearTrial(backend, 3, "bf16"),
  "linear, one row of q5_k": (backend) => linearTrial(backend, 1, "q5_k", 512),
  "linear, 33 rows of f32": (backend) => linearTrial(backend, 33, "f32"),
  "causal-conv1d": (backend) => {
    const random = seeded(5);
    return runOp(backend, {
      batch: 2,
      length: 5,
      inputs: { x: { cols: 10, values: random.normal(100) } },
      states: { state: random.normal(2 * 10 * 3) },
      weights: {
        weight: { rows: 10, cols: 4, values: random.normal(40) },
        bias: { rows: 1, cols: 10, values: random.normal(10) },
      },
      record: (k, { inputs, states, weights }) =>
        causalConv1d(k, {
          x: inputs.x,
          weight: weights.weight,
          bias: weights.bias,
          state: states.state,
          silu: true,
        }),
    });
  },
  "selective-scan, decode": (backend) => scanTrial(backend, 1),
  "selective-scan, prefill": (backend) => scanTrial(backend, 70),
  "ssd, decode": (backend) => ssdTrial(backend, 1),
  "ssd, prefill": (backend) => ssdTrial(backend, 21),
  rope: (backend) => {
    const random = seeded(8);
    return runOp(backend, {
      batch: 2,
      length: 3,
      position: [0, 90_000],
      inputs: { x: { cols: 2 * 20, values: random.normal(240) } },
      states: {},
      weights: { frequencies: { rows: 1, cols: 8, values: random.uniform(8, 0.001, 1) } },
      record: (k, { inputs, weights }) =>
        rope(k, { ...inputs, ...weights, headDim: 20, offset: 2, pairs: "halves" }),
    });
  },
  "attention, decode": (backend) => attentionTrial(backend, 1, "f32"),
  "attention, prefill over f16": (backend) => attentionTrial(backend, 9, "f16"),
  "gated-delta, a decay a head": (backend) => gatedDeltaTrial(backend, 4),
  "gated-delta, a decay a channel": (backend) => gatedDeltaTrial(backend, 4 * 33),
  ...recurrenceTrials,
  ...rwkvTrials,
  ...expertTrials,
};

function linearTrial(
  backend: Backend,
  length: number,
  dtype: WeightDType,
  cols = 96,
): Promise<OpResult<string>> {
  const random = seeded(4);
  return runOp(backend, {
    batch: 1,
    length,
    inputs: {
      x: { cols, values: random.normal(length * cols) },
      residual: { cols: 65, values: random.normal(length * 65) },
    },
    states: {},
    weights: {
      weight: {
        rows: 65,
        cols,
        dtype,
        values: randomPacked(random, dtype, 65, cols, 0.1),
        use: "matrix",
      },
    },
    record: (k, { inputs, weights }) =>
      linear(k, inputs.x, weights.weight, { residual: inputs.residual }),
  });
}

function attentionTrial(
  backend: Backend,
  length: number,
  dtype: "f32" | "f16",
): Promise<OpResult<string>> {
  const random = seeded(9);
  const sizes = { nHead: 6, nKvHead: 2, headDimK: 20, headDimV: 12 };
  const positions = [70, 5];
  const slot = (headDim: number): GrowingState => ({
    shape: [2, headDim],
    dtype,
    sequences: positions.map((position) => random.normal(position * 2 * headDim)),
  });
  return runOp(backend, {
    batch: 2,
    length,
    position: positions,
    inputs: {
      q: { cols: 6 * 20, values: random.normal(240 * length) },
      k: { cols: 2 * 20, values: random.normal(80 * length) },
      v: { cols: 2 * 12, values: random.normal(48 * length) },
    },
    states: { keys: slot(20), values: slot(12) },
    weights: {},
    record: (k, { inputs, states }) =>
      attention(k, { ...inputs, ...states, ...sizes, scale: 0.2, softCap: 5, window: null }),
  });
}

function scanTrial(backend: Backend, length: number): Promise<OpResult<string>> {
  const random = seeded(6);
  return runOp(backend, {
    batch: 2,
    length,
    inputs: {
      x: { cols: 20, values: random.normal(40 * length) },
      dtRaw: { cols: 20, values: random.normal(40 * length) },
      B: { cols: 16, values: random.normal(32 * length) },
      C: { cols: 16, values: random.normal(32 * length) },
      z: { cols: 20, values: random.normal(40 * length) },
    },
    states: { state: random.normal(2 * 20 * 16) },
    weights: {
      A: { rows: 20, cols: 16, values: random.uniform(320, -4, -0.1) },
      dtBias: { rows: 1, cols: 20, values: random.uniform(20, -4, -1) },
      D: { rows: 1, cols: 20, values: random.normal(20) },
    },
    record: (k, { inputs, states, weights }) =>
      selectiveScan(k, { ...inputs, ...weights, state: states.state, dtSoftplus: true, nGroup: 1 }),
  });
}

function gatedDeltaTrial(backend: Backend, decays: number): Promise<OpResult<string>> {
  const random = seeded(8);
  return runOp(backend, {
    batch: 2,
    length: 5,
    inputs: {
      q: { cols: 2 * 33, values: random.normal(660, 0.2) },
      k: { cols: 2 * 33, values: random.normal(660, 0.2) },
      v: { cols: 4 * 18, values: random.normal(720) },
      dtRaw: { cols: decays, values: random.normal(10 * decays) },
      betaRaw: { cols: 4, values: random.normal(40) },
    },
    states: { state: random.normal(2 * 4 * 33 * 18) },
    weights: {
      dtBias: { rows: 1, cols: decays, values: random.uniform(decays, -4, 1) },
      A: { rows: 1, cols: 4, values: random.uniform(4, -4, -0.1) },
    },
    record: (k, { inputs, states, weights }) =>
      gatedDelta(k, {
        ...inputs,
        ...weights,
        state: states.state,
        nKeyHead: 2,
        nValueHead: 4,
        keyHeads: "grouped",
        headDimK: 33,
        headDimV: 18,
        betaScale: 1,
        scale: 0.25,
      }),
  });
}

function ssdTrial(backend: Backend, length: number): Promise<OpResult<string>> {
  const random = seeded(7);
  return runOp(backend, {
    batch: 2,
    length,
    inputs: {
      x: { cols: 4 * 8, values: random.normal(64 * length) },
      dtRaw: { cols: 4, values: random.normal(8 * length) },
      B: { cols: 2 * 16, values: random.normal(64 * length) },
      C: { cols: 2 * 16, values: random.normal(64 * length) },
    },
    states: { state: random.normal(2 * 4 * 8 * 16) },
    weights: {
      A: { rows: 1, cols: 4, values: random.uniform(4, -4, -0.1) },
      dtBias: { rows: 1, cols: 4, values: random.uniform(4, -4, -1) },
      D: { rows: 1, cols: 4, values: random.normal(4) },
    },
    record: (k, { inputs, states, weights }) =>
      ssd(k, {
        ...inputs,
        ...weights,
        z: null,
        state: states.state,
        dtSoftplus: true,
        dtMin: 0,
        dtMax: Infinity,
        nGroup: 2,
        chunkSize: 8,
      }),
  });
}
