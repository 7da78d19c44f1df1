import { expect, test } from "vitest";
import { createReferenceBackend } from "../backends/reference/backend.ts";
import { gatedDelta } from "../ops/gated-delta/gated-delta.ts";
import { rgLru } from "../ops/rg-lru/rg-lru.ts";
import { selectiveScan } from "../ops/selective-scan/selective-scan.ts";
import { ssd } from "../ops/ssd/ssd.ts";
import { wkv7 } from "../ops/wkv7/wkv7.ts";
import type { Operands, Recorder } from "./op.ts";
import type { Weight } from "./tensor.ts";
import { runOp, type OpTrial, type WeightArray } from "../testing/op-runner.ts";
import { seeded } from "../testing/seeded.ts";
import { gatedDeltaRetention } from "../ops/gated-delta/gated-delta.retention.ts";
import type { RetentionRule } from "./retention.ts";
import { rgLruRetention } from "../ops/rg-lru/rg-lru.retention.ts";
import { selectiveScanRetention } from "../ops/selective-scan/selective-scan.retention.ts";
import { ssdRetention } from "../ops/ssd/ssd.retention.ts";
import { wkv7Retention } from "../ops/wkv7/wkv7.retention.ts";

const T = 9;

type Trial = OpTrial<string, "state", string>;

/** A recurrence at its beginning, its inputs, and the input that its writes are proportional to. */
interface Case {
  readonly rule: RetentionRule;
  readonly written: string;
  /** Equal parts of the state whose norms are added up: heads, or channels. */
  readonly parts: number;
  readonly trial: Trial;
}

/** As the op has it: values in [0, 1), so that decays and rates are what they may be. */
const unit = (count: number, seed: number): Float32Array => seeded(seed).uniform(count, 0, 1);

function delta(perChannel: boolean, keyHeads: "grouped" | "tiled"): Case {
  const [nKeyHead, nValueHead, headDimK, headDimV] = [2, 4, 5, 3];
  const random = seeded(1);
  const dKey = nKeyHead * headDimK;
  const decays = nValueHead * (perChannel ? headDimK : 1);
  const keys = random.normal(T * dKey).map((value, i, all) => {
    const head = all.subarray(i - (i % headDimK), i - (i % headDimK) + headDimK);
    return value / Math.hypot(...head);
  });
  return {
    rule: gatedDeltaRetention,
    written: "v",
    parts: nValueHead,
    trial: {
      batch: 1,
      length: T,
      inputs: {
        q: { cols: dKey, values: random.normal(T * dKey) },
        k: { cols: dKey, values: keys },
        v: { cols: nValueHead * headDimV, values: random.normal(T * nValueHead * headDimV) },
        dtRaw: { cols: decays, values: random.normal(T * decays) },
        betaRaw: { cols: nValueHead, values: random.normal(T * nValueHead) },
      },
      states: { state: new Float32Array(nValueHead * headDimK * headDimV) },
      weights: {
        dtBias: { rows: 1, cols: decays, values: random.uniform(decays, -4, 1) },
        A: { rows: 1, cols: nValueHead, values: random.uniform(nValueHead, -1, -0.1) },
      },
      record: (k, { inputs: { q, k: key, v, dtRaw, betaRaw }, states, weights: { dtBias, A } }) =>
        gatedDelta(k, {
          q,
          k: key,
          v,
          dtRaw,
          betaRaw,
          dtBias,
          A,
          state: states.state,
          nKeyHead,
          nValueHead,
          headDimK,
          headDimV,
          betaScale: 2,
          keyHeads,
          scale: 1,
        }),
    },
  };
}

function mamba2(): Case {
  const [nHead, headDim, nGroup, dState] = [4, 3, 2, 5];
  const random = seeded(2);
  return {
    rule: ssdRetention,
    written: "x",
    parts: nHead,
    trial: {
      batch: 1,
      length: T,
      inputs: {
        x: { cols: nHead * headDim, values: random.normal(T * nHead * headDim) },
        dtRaw: { cols: nHead, values: random.normal(T * nHead) },
        B: { cols: nGroup * dState, values: random.normal(T * nGroup * dState) },
        C: { cols: nGroup * dState, values: random.normal(T * nGroup * dState) },
      },
      states: { state: new Float32Array(nHead * headDim * dState) },
      weights: {
        dtBias: { rows: 1, cols: nHead, values: random.uniform(nHead, -2, 1) },
        A: { rows: 1, cols: nHead, values: random.uniform(nHead, -1, -0.05) },
      },
      record: (k, { inputs: { x, dtRaw, B, C }, states, weights: { dtBias, A } }) =>
        ssd(k, {
          x,
          dtRaw,
          dtBias,
          dtSoftplus: true,
          dtMin: 0.2,
          dtMax: 1.5,
          A,
          B,
          C,
          D: null,
          z: null,
          state: states.state,
          nGroup,
          chunkSize: 4,
        }),
    },
  };
}

function mamba(): Case {
  const [dInner, dState, nGroup] = [6, 4, 2];
  const random = seeded(3);
  return {
    rule: selectiveScanRetention,
    written: "x",
    parts: dInner,
    trial: {
      batch: 1,
      length: T,
      inputs: {
        x: { cols: dInner, values: random.normal(T * dInner) },
        dtRaw: { cols: dInner, values: random.normal(T * dInner) },
        B: { cols: nGroup * dState, values: random.normal(T * nGroup * dState) },
        C: { cols: nGroup * dState, values: random.normal(T * nGroup * dState) },
      },
      states: { state: new Float32Array(dInner * dState) },
      weights: {
        dtBias: { rows: 1, cols: dInner, values: random.uniform(dInner, -2, 1) },
        A: {
          rows: dInner,
          cols: dState,
          use: "vector",
          values: random.uniform(dInner * dState, -1, -0.05),
        },
      },
      record: (k, { inputs: { x, dtRaw, B, C }, states, weights: { dtBias, A } }) =>
        selectiveScan(k, {
          x,
          dtRaw,
          dtBias,
          dtSoftplus: true,
          A,
          B,
          C,
          D: null,
          z: null,
          state: states.state,
          nGroup,
        }),
    },
  };
}

function griffin(): Case {
  const width = 7;
  const random = seeded(4);
  return {
    rule: rgLruRetention,
    written: "x",
    parts: width,
    trial: {
      batch: 1,
      length: T,
      inputs: {
        x: { cols: width, values: random.normal(T * width) },
        recurrenceGate: { cols: width, values: random.normal(T * width) },
        inputGate: { cols: width, values: random.normal(T * width) },
      },
      states: { state: new Float32Array(width) },
      weights: { logDecay: { rows: 1, cols: width, values: random.uniform(width, -2, -0.1) } },
      record: (k, { inputs: { x, recurrenceGate, inputGate }, states, weights: { logDecay } }) =>
        rgLru(k, { x, recurrenceGate, inputGate, logDecay, state: states.state }),
    },
  };
}

function rwkv7(): Case {
  const [nHead, K, V] = [2, 4, 3];
  const random = seeded(5);
  const keys = (): Float32Array => random.normal(T * nHead * K);
  return {
    rule: wkv7Retention,
    written: "v",
    parts: nHead,
    trial: {
      batch: 1,
      length: T,
      inputs: {
        r: { cols: nHead * K, values: keys() },
        w: { cols: nHead * K, values: unit(T * nHead * K, 6) },
        k: { cols: nHead * K, values: keys() },
        v: { cols: nHead * V, values: random.normal(T * nHead * V) },
        kappa: { cols: nHead * K, values: keys().map((value) => value / 3) },
        a: { cols: nHead * K, values: unit(T * nHead * K, 7) },
      },
      states: { state: new Float32Array(nHead * V * K) },
      weights: {},
      record: (k, { inputs: { r, w, k: key, v, kappa, a }, states }) =>
        wkv7(k, { r, w, k: key, v, kappa, a, state: states.state, nHead }),
    },
  };
}

/** The trial's first `length` tokens, with the writes of all tokens but `only` left out. */
function alone({ trial, written }: Case, only: number, length: number): Trial {
  const inputs = Object.fromEntries(
    Object.entries(trial.inputs).map(([name, { cols, values }]) => {
      const kept = values.slice(0, length * cols);
      if (name !== written) return [name, { cols, values: kept }];
      return [
        name,
        { cols, values: kept.map((value, i) => (Math.floor(i / cols) === only ? value : 0)) },
      ];
    }),
  );
  return { ...trial, length, inputs };
}

/** Runs a trial, and gives the state behind it with the operands that were recorded. */
async function stateOf(trial: Trial): Promise<{ state: Float32Array; operands: Operands }> {
  let operands: Operands = {};
  const backend = createReferenceBackend();
  const { states } = await runOp(backend, {
    ...trial,
    record(k, given) {
      const spy: Recorder = {
        ...k,
        record(declaration, named) {
          operands = named;
          k.record(declaration, named);
        },
      };
      return trial.record(spy, given);
    },
  });
  return { state: states.state, operands };
}

/** Σ over the parts of their Euclidean norms. */
function normOfParts(state: Float32Array, parts: number): number {
  const size = state.length / parts;
  let sum = 0;
  for (let i = 0; i < parts; i++) sum += Math.hypot(...state.subarray(i * size, (i + 1) * size));
  return sum;
}

const cases: readonly (readonly [string, Case])[] = [
  ["Mamba-1", mamba()],
  ["Mamba-2", mamba2()],
  ["gated delta, a decay a head", delta(false, "grouped")],
  ["gated delta, a decay a channel", delta(true, "tiled")],
  ["RWKV-7", rwkv7()],
  ["RG-LRU", griffin()],
];

test.each(cases)("%s: what is held of all tokens is the state", async (_, one) => {
  const { state } = await stateOf(one.trial);
  const sum = new Float64Array(state.length);
  for (let j = 0; j < T; j++) {
    const contribution = await stateOf(alone(one, j, T));
    contribution.state.forEach((value, i) => (sum[i] += value));
  }
  for (const [i, value] of state.entries()) expect(sum[i]).toBeCloseTo(value, 4);
});

// Each token's part of the state, by the recurrence itself with all other writes left out.
test.each(cases)("%s: tells each token's part, in pieces too", async (_, one) => {
  const { operands } = await stateOf(one.trial);
  const weights: Readonly<Record<string, WeightArray>> = one.trial.weights;
  const vector = (weight: Weight): Float32Array => {
    const name = one.rule.weights.find((key) => operands[key] === weight) ?? "";
    return Float32Array.from(weights[name].values);
  };
  const retention = one.rule.create(operands, vector);
  const pieces = [
    [0, 4],
    [4, T],
  ] as const;
  const rows = pieces.map(([from, to]) => {
    const values = Object.fromEntries(
      one.rule.traced.map((name) => {
        const { cols, values: all } = one.trial.inputs[name];
        return [name, all.subarray(from * cols, to * cols)];
      }),
    );
    return retention.reduce(values, to - from, from);
  });
  for (const index of [1, 0]) {
    const [from, to] = pieces[index];
    const { written, held } = retention.back(rows[index], to - from);
    for (let j = from; j < to; j++) {
      const atOnce = await stateOf(alone(one, j, j + 1));
      const atLast = await stateOf(alone(one, j, T));
      expect(written[j - from]).toBeCloseTo(normOfParts(atOnce.state, one.parts), 4);
      expect(held[j - from]).toBeCloseTo(normOfParts(atLast.state, one.parts), 4);
    }
  }
});
