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
import { LARGE_MATRIX } from "./linear-matrix.webgpu.ts";
import { linear } from "./linear.ts";

interface Size {
  readonly batch: number;
  readonly length: number;
  /** K */
  readonly inputs: number;
  /** R */
  readonly outputs: number;
}

function trial(
  size: Size,
  dtype: WeightDType,
  extras: boolean,
): OpTrial<"x" | "residual", never, "weight" | "bias"> {
  const { batch, length, inputs: K, outputs: R } = size;
  const random = seeded(K * 31 + R);
  const rows = batch * length;
  return {
    batch,
    length,
    inputs: {
      x: { cols: K, values: random.normal(rows * K), margin: extras ? [32, 5] : [0, 0] },
      residual: { cols: R, values: random.normal(rows * R), margin: extras ? [3, 0] : [0, 0] },
    },
    states: {},
    weights: {
      weight: {
        rows: R,
        cols: K,
        dtype,
        values: randomPacked(random, dtype, R, K, 1 / Math.sqrt(K)),
        use: "matrix",
      },
      bias: { rows: 1, cols: R, values: random.normal(R) },
    },
    record: (k, { inputs, weights }) =>
      linear(
        k,
        inputs.x,
        weights.weight,
        extras ? { bias: weights.bias, residual: inputs.residual } : {},
      ),
  };
}

/**
 * Where x is rounded, x and the largest weights decide how far off products may be. To f16 it is for weights in blocks and
 * for large matrices.
 */
function toleranceOf(
  backend: Backend,
  { inputs, weights: { weight } }: ReturnType<typeof trial>,
  dtype: WeightDType,
): Tolerance | undefined {
  const { features: has } = backend.device;
  const isBlocks = WEIGHT_BLOCKS[dtype].values > 1;
  const isLarge = dtype !== "f32" && weight.rows * weight.cols >= LARGE_MATRIX;
  const features = isBlocks ? has : has.filter((name) => isLarge && name === "f16-products");
  const all = new Float32Array(weight.rows * weight.cols);
  const packed = new DataView(weight.values.buffer);
  for (let row = 0; row < weight.rows; row++) {
    dequantiseRow(dtype, packed, row, all.subarray(row * weight.cols, (row + 1) * weight.cols));
  }
  return roundedActivationTolerance(features, inputs.x.values, all, weight.cols);
}

forEachBackend("linear", (backend) => {
  test("multiplies rows by rows, and adds bias and residual", async () => {
    const { y } = await runOp(backend(), {
      batch: 1,
      length: 2,
      inputs: {
        x: { cols: 3, values: Float32Array.of(1, 2, 3, 4, 5, 6) },
        residual: { cols: 2, values: Float32Array.of(1000, 2000, 3000, 4000) },
      },
      states: {},
      weights: {
        weight: { rows: 2, cols: 3, values: Float32Array.of(1, 0, 1, 0, 1, -1), use: "matrix" },
        bias: { rows: 1, cols: 2, values: Float32Array.of(10, 20) },
      },
      record: (k, { inputs, weights }) =>
        linear(k, inputs.x, weights.weight, { bias: weights.bias, residual: inputs.residual }),
    });
    expectAllClose(y, [1014, 2019, 3020, 4019], { absolute: 0, relative: 1e-6 }, "y");
  });

  describe.each(["f32", "f16", "bf16", "q8_0"] as const)("with %s weights", (dtype) => {
    test.each([
      { batch: 1, length: 1, inputs: 32, outputs: 1 },
      { batch: 1, length: 1, inputs: 160, outputs: 67 },
      { batch: 3, length: 1, inputs: 64, outputs: 130 },
      { batch: 5, length: 1, inputs: 544, outputs: 66 },
      { batch: 1, length: 33, inputs: 96, outputs: 65 },
      { batch: 2, length: 17, inputs: 512, outputs: 36 },
    ])("agrees with the reference: $batch × $length, $inputs → $outputs", async (size) => {
      for (const extras of [false, true]) {
        const options = trial(size, dtype, extras);
        await expectLikeReference(backend(), options, toleranceOf(backend(), options, dtype));
      }
    });
  });

  describe.each(["q4_0", "q4_k", "q5_k", "q6_k"] as const)("with %s weights", (dtype) => {
    test.each([
      { batch: 1, length: 1, inputs: 256, outputs: 1 },
      { batch: 1, length: 1, inputs: 768, outputs: 67 },
      { batch: 3, length: 1, inputs: 512, outputs: 30 },
      { batch: 1, length: 25, inputs: 256, outputs: 65 },
      { batch: 1, length: 35, inputs: 512, outputs: 19 },
    ])("agrees with the reference: $batch × $length, $inputs → $outputs", async (size) => {
      for (const extras of [false, true]) {
        const options = trial(size, dtype, extras);
        await expectLikeReference(backend(), options, toleranceOf(backend(), options, dtype));
      }
    });
  });

  // On matrix units: several tiles each way, splits of the columns, and x in one f16.
  test.each([
    { dtype: "f16", batch: 1, length: 130, inputs: 1280, outputs: 821 },
    { dtype: "bf16", batch: 2, length: 13, inputs: 2304, outputs: 460 },
    { dtype: "q4_k", batch: 2, length: 13, inputs: 2304, outputs: 460 },
  ] as const)("takes large matrices in $dtype", async ({ dtype, ...size }) => {
    const options = trial(size, dtype, true);
    await expectLikeReference(backend(), options, toleranceOf(backend(), options, dtype));
  });

  test("takes q4_0 rows of whole blocks", async () => {
    for (const inputs of [32, 96, 160]) {
      for (const length of [1, 6]) {
        const options = trial({ batch: 1, length, inputs, outputs: 11 }, "q4_0", true);
        await expectLikeReference(backend(), options, toleranceOf(backend(), options, "q4_0"));
      }
    }
  });

  test.each(["f32", "f16", "bf16"] as const)("takes %s rows of any width", async (dtype) => {
    await expectLikeReference(
      backend(),
      trial({ batch: 1, length: 1, inputs: 1, outputs: 3 }, dtype, true),
    );
    await expectLikeReference(
      backend(),
      trial({ batch: 2, length: 5, inputs: 35, outputs: 7 }, dtype, true),
    );
  });
});
