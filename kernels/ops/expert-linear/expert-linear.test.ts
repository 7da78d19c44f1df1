import { describe, test } from "vitest";
import type { Backend } from "../../spec/backend.ts";
import { dequantiseRow } from "../../spec/dequantise.ts";
import { WEIGHT_BLOCKS, type WeightDType } from "../../spec/dtype.ts";
import { expectAllClose, type Tolerance } from "../../testing/all-close.ts";
import { expectLikeReference } from "../../testing/compare.ts";
import { forEachBackend } from "../../testing/for-each-backend.ts";
import { runOp, type OpTrial } from "../../testing/op-runner.ts";
import { randomPacked } from "../../testing/pack.ts";
import { seeded } from "../../testing/seeded.ts";
import { roundedActivationTolerance } from "../../testing/tolerances.ts";
import { expertLinear } from "./expert-linear.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  /** K */
  readonly inputs: number;
  /** R */
  readonly outputs: number;
  readonly nExpert: number;
  readonly topK: number;
}

interface Variant {
  /** Each expert has its own part of x. */
  readonly apart: boolean;
  readonly weighted: boolean;
  readonly bias: boolean;
  readonly residual: boolean;
}

const VARIANTS: readonly Variant[] = [
  { apart: false, weighted: false, bias: false, residual: false },
  { apart: false, weighted: true, bias: true, residual: false },
  { apart: true, weighted: true, bias: false, residual: true },
  { apart: true, weighted: false, bias: true, residual: false },
];

function trial(
  { batch, length, inputs: K, outputs: R, nExpert, topK }: Size,
  dtype: WeightDType,
  variant: Variant,
): OpTrial<"x" | "experts" | "weights" | "residual", never, "weight" | "bias"> {
  const random = seeded(K * 31 + R * 7 + nExpert);
  const rows = batch * length;
  const xCols = variant.apart ? topK * K : K;
  const numbers = random
    .uniform(rows * topK, -0.4, nExpert + 0.4)
    .map((value) => Math.floor(value));
  return {
    batch,
    length,
    inputs: {
      x: { cols: xCols, values: random.normal(rows * xCols), margin: [2, 3] },
      experts: { cols: topK, values: numbers, margin: [0, 1] },
      weights: { cols: topK, values: random.normal(rows * topK), margin: [1, 0] },
      residual: { cols: R, values: random.normal(rows * R), margin: [3, 0] },
    },
    states: {},
    weights: {
      weight: {
        rows: nExpert * R,
        cols: K,
        dtype,
        values: randomPacked(random, dtype, nExpert * R, K, 1 / Math.sqrt(K)),
        use: "matrix",
      },
      bias: { rows: nExpert, cols: R, values: random.normal(nExpert * R) },
    },
    record: (k, { inputs, weights }) =>
      expertLinear(k, {
        x: inputs.x,
        weight: weights.weight,
        bias: variant.bias ? weights.bias : null,
        nExpert,
        experts: inputs.experts,
        weights: variant.weighted ? inputs.weights : null,
        residual: variant.residual ? inputs.residual : null,
      }),
  };
}

/** Where x is rounded: of one product; their sum's weights are about one. */
function toleranceOf(
  backend: Backend,
  { inputs, weights: { weight } }: ReturnType<typeof trial>,
  dtype: WeightDType,
): Tolerance | undefined {
  if (WEIGHT_BLOCKS[dtype].values === 1) return undefined;
  const all = new Float32Array(weight.rows * weight.cols);
  const packed = new DataView(weight.values.buffer);
  for (let row = 0; row < weight.rows; row++)
    dequantiseRow(dtype, packed, row, all.subarray(row * weight.cols, (row + 1) * weight.cols));
  // What is rounded to f16 for `linear` is not for this op.
  const features = backend.device.features.filter((feature) => feature.endsWith("-activations"));
  const one = roundedActivationTolerance(features, inputs.x.values, all, weight.cols);
  const chosen = Math.max(...inputs.weights.values.map(Math.abs));
  return one && { ...one, absolute: one.absolute * Math.max(1, chosen) * inputs.experts.cols };
}

forEachBackend("expert-linear", (backend) => {
  // Three experts of two rows: (1, 0) and (0, 1), twice and three times that.
  const weight = {
    rows: 6,
    cols: 2,
    values: Float32Array.of(1, 0, 0, 1, 2, 0, 0, 2, 3, 0, 0, 3),
    use: "matrix",
  } as const;
  const x = { cols: 2, values: Float32Array.of(1, 10, 2, 20) };
  const weights = {
    weight,
    bias: { rows: 3, cols: 2, values: Float32Array.of(0, 0, 0.5, 0, 0, 0) },
  };

  test("multiplies each row with the matrices of its experts", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 2,
      inputs: { x, experts: { cols: 2, values: Float32Array.of(2, 1, 0, 2) } },
      states: {},
      weights,
      record: (k, given) =>
        expertLinear(k, {
          x: given.inputs.x,
          weight: given.weights.weight,
          bias: given.weights.bias,
          nExpert: 3,
          experts: given.inputs.experts,
        }),
    });
    expectAllClose(y, [3, 30, 2.5, 20, 2, 20, 6, 60], { absolute: 1e-5, relative: 0 }, "y");
  });

  test("adds the weighted products to the residual, and nothing for what is no expert", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 2,
      inputs: {
        x,
        experts: { cols: 2, values: Float32Array.of(2, 3, -1, 1) },
        weights: { cols: 2, values: Float32Array.of(0.5, 100, 100, 2) },
        residual: { cols: 2, values: Float32Array.of(1000, 2000, 3000, 4000) },
      },
      states: {},
      weights,
      record: (k, given) =>
        expertLinear(k, {
          x: given.inputs.x,
          weight: given.weights.weight,
          bias: given.weights.bias,
          nExpert: 3,
          experts: given.inputs.experts,
          weights: given.inputs.weights,
          residual: given.inputs.residual,
        }),
    });
    expectAllClose(y, [1001.5, 2015, 3009, 4080], { absolute: 1e-3, relative: 0 }, "y");
  });

  describe.each(["f32", "f16", "bf16", "q8_0"] as const)("with %s weights", (dtype) => {
    test.each([
      { batch: 1, length: 1, inputs: 32, outputs: 12, nExpert: 7, topK: 3 },
      { batch: 2, length: 1, inputs: 64, outputs: 16, nExpert: 3, topK: 1 },
      { batch: 1, length: 70, inputs: 96, outputs: 20, nExpert: 4, topK: 2 },
      { batch: 2, length: 1, inputs: 64, outputs: 300, nExpert: 9, topK: 3 },
      { batch: 1, length: 11, inputs: 32, outputs: 140, nExpert: 3, topK: 2 },
    ])(
      "agrees with the reference: $batch × $length, $inputs → $outputs, $topK of $nExpert",
      async (size) => {
        for (const variant of VARIANTS) {
          const options = trial(size, dtype, variant);
          await expectLikeReference(backend(), options, toleranceOf(backend(), options, dtype));
        }
      },
    );
  });

  test.each(["q4_0", "q4_k", "q5_k", "q6_k"] as const)("takes %s weights", async (dtype) => {
    for (const length of [1, 40]) {
      const size = { batch: 1, length, inputs: 256, outputs: 12, nExpert: 3, topK: 2 };
      const options = trial(size, dtype, {
        apart: false,
        weighted: true,
        bias: false,
        residual: true,
      });
      await expectLikeReference(backend(), options, toleranceOf(backend(), options, dtype));
    }
  });

  test.each(["f32", "f16"] as const)("takes %s rows and outputs of any width", async (dtype) => {
    for (const variant of VARIANTS) {
      await expectLikeReference(
        backend(),
        trial({ batch: 1, length: 1, inputs: 1, outputs: 1, nExpert: 5, topK: 2 }, dtype, variant),
      );
      await expectLikeReference(
        backend(),
        trial(
          { batch: 3, length: 33, inputs: 35, outputs: 67, nExpert: 5, topK: 4 },
          dtype,
          variant,
        ),
      );
    }
  });
});
