// Chains of ops as models have them, with temporaries between: what a backend draws together must give what the ops give.
import { describe, expect, test } from "vitest";
import { activation } from "../ops/activation/activation.ts";
import { causalConv1d } from "../ops/causal-conv1d/causal-conv1d.ts";
import { gate } from "../ops/gate/gate.ts";
import { gatedRmsNorm } from "../ops/gated-rms-norm/gated-rms-norm.ts";
import { linear } from "../ops/linear/linear.ts";
import { rmsNorm } from "../ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../ops/scaled-add/scaled-add.ts";
import { selectiveScan } from "../ops/selective-scan/selective-scan.ts";
import { ssd } from "../ops/ssd/ssd.ts";
import { recordPlan } from "../plan/recorder.ts";
import type { WeightDType } from "../spec/dtype.ts";
import type { Recorder } from "../spec/op.ts";
import type { Tensor, Weight } from "../spec/tensor.ts";
import { columns, split } from "../spec/views.ts";
import type { Tolerance } from "../testing/all-close.ts";
import { expectLikeReference } from "../testing/compare.ts";
import { forEachBackend } from "../testing/for-each-backend.ts";
import { plainGpu } from "../testing/gpu-with.ts";
import type { OpTrial, WeightArray } from "../testing/op-runner.ts";
import { randomPacked } from "../testing/pack.ts";
import { seeded } from "../testing/seeded.ts";
import { createWebGpuBackend } from "./webgpu/backend.ts";
import { fusePlan } from "./webgpu/fuse.ts";

const random = seeded(12);

/**
 * Of a backend that rounds the few rows of these chains to 16 bits, values of about 1 to 4 summed over up to 1536 columns; linear.test.ts
 * holds the rounding itself against its bound.
 */
const ROUNDED: Tolerance = { absolute: 5e-4, relative: 1e-4 };
/** Of one that rounds them, and blocks of weights, to f16: 11 bits. */
const ROUNDED_TO_F16: Tolerance = { absolute: 4e-3, relative: 1e-3 };

function matrix(rows: number, cols: number, dtype: WeightDType = "f16"): WeightArray {
  const values = randomPacked(random, dtype, rows, cols, 1 / Math.sqrt(cols));
  return { rows, cols, dtype, values, use: "matrix" };
}

function vector(cols: number, rows = 1): WeightArray {
  return { rows, cols, values: random.normal(rows * cols) };
}

/** One chain: its operands, and what is left of it where steps are fused. */
interface Chain {
  readonly name: string;
  readonly batch?: number;
  readonly inputs: Readonly<Record<string, number>>;
  readonly states?: Readonly<Record<string, number>>;
  readonly weights: Readonly<Record<string, WeightArray>>;
  readonly fused: readonly string[];
  /** The same on a device whose matrix units take products of few rows, where that is another. */
  readonly fusedOnMatrices?: readonly string[];
  record(
    k: Recorder,
    x: Readonly<Record<string, Tensor>>,
    w: Readonly<Record<string, Weight>>,
    states: Readonly<Record<string, Tensor>>,
  ): Tensor;
}

const dtypes: readonly WeightDType[] = ["f32", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"];

const chains: readonly Chain[] = [
  ...dtypes.map((dtype): Chain => ({
    name: `a norm, then a product with ${dtype}`,
    inputs: { x: 512 },
    weights: { norm: vector(512), w: matrix(37, 512, dtype) },
    fused: ["fused-linear"],
    record: (k, { x }, { norm, w }) =>
      linear(k, rmsNorm(k, { x, weight: norm, eps: 1e-5 }), w, { into: k.output(1, 37) }),
  })),
  {
    name: "a norm without weights, odd columns, then two products and a function",
    inputs: { x: 77 },
    weights: { a: matrix(33, 77), b: matrix(9, 77, "f32"), c: matrix(5, 33) },
    fused: ["fused-linear", "fused-linear", "fused-linear"],
    record(k, { x }, { a, b, c }) {
      const y = k.output(1, 14);
      const normed = rmsNorm(k, { x, weight: null, eps: 1e-5, over: "sum" });
      const hidden = activation(k, linear(k, normed, a), "silu", { scale: 2, gain: 3 });
      linear(k, normed, b, { into: columns(y, 5, 9) });
      // The function belongs to the product before it, and leaves this one plain but for its place.
      linear(k, gate(k, { a: hidden, b: hidden, act: "identity" }), c, { into: columns(y, 0, 5) });
      return y;
    },
  },
  ...(["f32", "f16", "q8_0", "q4_k"] as const).map((dtype): Chain => ({
    name: `norms and gates of five rows, then products with ${dtype}`,
    batch: 5,
    inputs: { x: 512, z: 512, residual: 37 },
    weights: { norm: vector(512), a: matrix(37, 512, dtype), b: matrix(40, 512, dtype) },
    fused: ["rms-norm", "linear", "gated-rms-norm", "fused-linear"],
    ...(dtype !== "f32" && { fusedOnMatrices: ["fused-linear", "fused-linear"] }),
    record(k, { x, z, residual }, { norm, a, b }) {
      const y = k.output(5, 77);
      const normed = rmsNorm(k, { x, weight: norm, eps: 1e-5 });
      linear(k, normed, a, { residual, into: columns(y, 0, 37) });
      const other = gatedRmsNorm(k, { x, z, weight: norm, eps: 1e-5, groupSize: 512 });
      activation(k, linear(k, other, b), "silu", { scale: 0.5, into: columns(y, 37, 40) });
      return y;
    },
  })),
  {
    name: "a gated norm, then a product, with a residual",
    inputs: { x: 1536, z: 1536, residual: 40 },
    weights: { norm: vector(1536), w: matrix(40, 1536, "q8_0") },
    fused: ["fused-linear"],
    record: (k, { x, z, residual }, { norm, w }) =>
      linear(k, gatedRmsNorm(k, { x, z, weight: norm, eps: 1e-5, groupSize: 1536 }), w, {
        residual,
        into: k.output(1, 40),
      }),
  },
  ...[
    { batch: 1, groupSize: 128, fused: ["ssd", "fused-linear"], others: false },
    { batch: 1, groupSize: 32, fused: ["ssd", "rms-norm", "linear"], others: false },
    { batch: 1, groupSize: 128, fused: ["ssd", "scaled-add", "fused-linear"], others: true },
    { batch: 5, groupSize: 128, fused: ["ssd", "rms-norm", "linear"], others: false },
  ].map(({ batch, groupSize, fused, others }): Chain => ({
    name: `a step of ssd, gated and normed by ${groupSize}, ${batch} sequences${others ? ", and read by others" : ""}`,
    batch,
    inputs: { x: 128, dtRaw: 4, z: 128, bc: 2 * 24 },
    states: { ssm: 128 * 24 },
    weights: {
      A: { rows: 1, cols: 4, values: random.normal(4).map((v) => -Math.abs(v)) },
      D: vector(4),
      norm: vector(128),
      out: matrix(9, 128),
    },
    fused,
    ...(batch === 5 && { fusedOnMatrices: ["ssd", "fused-linear"] }),
    record(k, { x, dtRaw, z, bc }, { A, D, norm: weight, out }, { ssm: state }) {
      const [B, C] = split(bc, [24, 24]);
      const rest = { dtBias: null, dtSoftplus: true, dtMin: 0, dtMax: Infinity, z: null, state };
      const step = ssd(k, { ...rest, x, dtRaw, A, B, C, D, nGroup: 1, chunkSize: 8 });
      const y = k.output(batch, 9 + (others ? 128 : 0));
      if (others) scaledAdd(k, { a: step, aScale: 2, into: columns(y, 9, 128) });
      const normed = gatedRmsNorm(k, { x: step, z, weight, eps: 1e-5, groupSize });
      return linear(k, normed, out, { into: columns(y, 0, 9) });
    },
  })),
  {
    name: "a gate of a norm, then a product",
    inputs: { x: 96, z: 96 },
    weights: { norm: vector(96), w: matrix(20, 96) },
    fused: ["fused-linear"],
    record(k, { x, z }, { norm, w }) {
      const b = rmsNorm(k, { x, weight: norm, eps: 1e-5 });
      return linear(k, gate(k, { a: z, b, act: "silu" }), w, { into: k.output(1, 20) });
    },
  },
  {
    name: "a norm by groups stays",
    inputs: { x: 96 },
    weights: { norm: vector(96), w: matrix(20, 96) },
    fused: ["rms-norm", "linear"],
    record: (k, { x }, { norm, w }) =>
      linear(k, rmsNorm(k, { x, weight: norm, eps: 1e-5, groupSize: 32 }), w, {
        into: k.output(1, 20),
      }),
  },
  {
    name: "a norm that others read stays",
    inputs: { x: 96 },
    weights: { norm: vector(96), w: matrix(96, 96) },
    fused: ["rms-norm", "fused-linear"],
    record(k, { x }, { norm, w }) {
      const b = rmsNorm(k, { x, weight: norm, eps: 1e-5 });
      return scaledAdd(k, {
        a: b,
        aScale: 0.5,
        b: linear(k, b, w),
        bScale: 3,
        into: k.output(1, 96),
      });
    },
  },
  ...[1, 3, 7, 16, 19].map((batch): Chain => ({
    name: `a gated product of ${batch} sequences, its sum with a residual`,
    batch,
    inputs: { x: 64, residual: 24 },
    weights: { a: matrix(96, 64), b: matrix(96, 64), c: matrix(24, 96, "q4_0"), bias: vector(24) },
    fused:
      batch === 1
        ? ["linear", "linear", "fused-linear"]
        : ["linear", "linear", "gate", "fused-linear"],
    ...(batch >= 5 && batch <= 16 && { fusedOnMatrices: ["linear", "linear", "fused-linear"] }),
    record(k, { x, residual }, { a, b, c, bias }) {
      const hidden = gate(k, { a: linear(k, x, a), b: linear(k, x, b), act: "gelu_tanh" });
      const y = linear(k, hidden, c, { bias });
      return scaledAdd(k, { a: residual, b: y, bScale: 0.25, into: k.output(batch, 24) });
    },
  })),
  ...[1, 5].map((batch): Chain => ({
    name: `a norm, a product and a convolution of some of its columns, ${batch} sequences`,
    batch,
    inputs: { x: 64 },
    states: { conv: 30 * 3 },
    weights: {
      norm: vector(64),
      w: matrix(50, 64, "q8_0"),
      taps: vector(4, 30),
      bias: vector(30),
      inBias: vector(50),
      out: matrix(12, 50),
    },
    fused:
      batch === 1
        ? ["fused-linear", "scaled-add", "scaled-add", "scaled-add", "linear"]
        : ["rms-norm", "fused-linear", "scaled-add", "scaled-add", "scaled-add", "linear"],
    ...(batch === 5 && {
      fusedOnMatrices: ["fused-linear", "scaled-add", "scaled-add", "scaled-add", "linear"],
    }),
    record(k, { x }, { norm, w, taps, bias, inBias, out }, { conv: state }) {
      const normed = rmsNorm(k, { x, weight: norm, eps: 1e-5 });
      const projected = linear(k, normed, w, { bias: inBias });
      const [z, u, dt] = split(projected, [13, 30, 7]);
      const conv = causalConv1d(k, { x: u, weight: taps, bias, state, silu: true });
      const all = k.temporary(batch, 50);
      scaledAdd(k, { a: z, b: columns(conv, 3, 13), into: columns(all, 0, 13) });
      // Not the place of the op, but what it reads decides.
      scaledAdd(k, {
        a: columns(conv, 0, 30),
        into: columns(all, 13, 30),
      });
      scaledAdd(k, { a: dt, into: columns(all, 43, 7) });
      return linear(k, all, out, { into: k.output(batch, 12) });
    },
  })),
  ...[
    { batch: 1, norms: "weighted", dInner: 21, dtRank: 11, dState: 16 },
    { batch: 1, norms: "none", dInner: 21, dtRank: 11, dState: 16 },
    { batch: 2, norms: "plain", dInner: 21, dtRank: 11, dState: 16 },
    // Multiples of four values.
    { batch: 1, norms: "weighted", dInner: 48, dtRank: 12, dState: 16 },
    { batch: 1, norms: "none", dInner: 72, dtRank: 268, dState: 16 },
    { batch: 3, norms: "plain", dInner: 40, dtRank: 12, dState: 28 },
  ].map(({ batch, norms, dInner, dtRank, dState }): Chain => ({
    name: `dt's projection from ${dtRank} and ${norms === "none" ? "no" : norms} norms, then a step of the scan, ${batch} of ${dInner} × ${dState}`,
    batch,
    inputs: { x: dInner, low: dtRank + 2 * dState, z: dInner },
    states: { ssm: dInner * dState },
    weights: {
      dt: matrix(dInner, dtRank),
      bias: vector(dInner),
      A: {
        rows: dInner,
        cols: dState,
        values: random.normal(dInner * dState).map((v) => -Math.abs(v)),
      },
      D: vector(dInner),
      dtNorm: vector(dtRank),
      bNorm: vector(dState),
      cNorm: vector(dState),
      out: matrix(9, dInner),
    },
    fused: ["fused-selective-scan", "linear"],
    record(k, { x, low, z }, w, { ssm: state }) {
      const norm = (values: Tensor, weight: Weight): Tensor =>
        norms === "none"
          ? values
          : rmsNorm(k, { x: values, weight: norms === "plain" ? null : weight, eps: 1e-5 });
      const [dtLow, B, C] = split(low, [dtRank, dState, dState]);
      const y = selectiveScan(k, {
        x,
        dtRaw: linear(k, norm(dtLow, w["dtNorm"]), w["dt"]),
        dtBias: w["bias"],
        dtSoftplus: true,
        A: w["A"],
        B: norm(B, w["bNorm"]),
        C: norm(C, w["cNorm"]),
        D: w["D"],
        z,
        state,
        nGroup: 1,
      });
      return linear(k, y, w["out"], { into: k.output(batch, 9) });
    },
  })),
];

function mapValues<In, Out>(
  record: Readonly<Record<string, In>>,
  map: (value: In, index: number) => Out,
): Record<string, Out> {
  return Object.fromEntries(Object.entries(record).map(([key, value], i) => [key, map(value, i)]));
}

function trialOf(chain: Chain): OpTrial<string, string, string> {
  const { batch = 1, inputs, states = {}, weights, record } = chain;
  return {
    chain: true,
    batch,
    length: 1,
    inputs: mapValues(inputs, (cols) => ({ cols, values: random.normal(batch * cols) })),
    states: mapValues(states, (size) => random.normal(batch * size)),
    weights,
    record: (k, given) => record(k, given.inputs, given.weights, given.states),
  };
}

forEachBackend("chains", (backend) => {
  test.each(chains)("give what their ops give: $name", async (chain) => {
    const { batch = 1 } = chain;
    const { features } = backend().device;
    const rounds = features.some((feature) => feature.endsWith("-activations"));
    const toF16 = features.includes("f16-products") && batch > 1 ? ROUNDED_TO_F16 : undefined;
    await expectLikeReference(backend(), trialOf(chain), rounds ? ROUNDED : toF16);
  });
});

describe("chains on a GPU without subgroups", () => {
  test.each(chains)("give what their ops give: $name", async (chain) => {
    const gpu = await createWebGpuBackend({ gpu: await plainGpu(), allowSoftware: false });
    if (gpu === null) throw new Error("the adapter was refused");
    await expectLikeReference(gpu, trialOf(chain));
    await gpu.release();
  });
});

describe("fusing", () => {
  test.each(chains)(
    "leaves $fused of: $name",
    ({ batch = 1, inputs, states = {}, weights, record, fused, fusedOnMatrices = fused }) => {
      const sizes = [...Object.values(states), ...Object.values(inputs)];
      const layout = sizes.map((size, i) => ({ name: `slot ${i}`, shape: [size] }));
      const first = Object.keys(states).length;
      const plan = recordPlan({ batch, length: 1 }, layout, (k) => {
        record(
          k,
          mapValues(inputs, (_, i) => k.state(first + i)),
          mapValues(weights, ({ rows, cols, dtype = "f32" }, id) => ({ id, dtype, rows, cols })),
          mapValues(states, (_, i) => k.state(i)),
        );
      });
      const limits = { storageBuffers: 10, subgroupMatrix: null, subgroupSize: 32 };
      expect(fusePlan(plan, limits).calls.map(({ op }) => op)).toEqual(fused);
      const withMatrices = { ...limits, subgroupMatrix: { m: 16, n: 16, k: 16 } };
      expect(fusePlan(plan, withMatrices).calls.map(({ op }) => op)).toEqual(fusedOnMatrices);
    },
  );
});
