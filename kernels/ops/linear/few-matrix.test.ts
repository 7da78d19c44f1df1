import { expect, test } from "vitest";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { nullContext, nullDevice, problemOf } from "../../wgsl/null-gpu.testing.ts";
import { describeFewRowsOnMatrices, goesToMatrices } from "./few-matrix.webgpu.ts";
import { asFused } from "./fused-linear.ts";

// What these compute was compared with the reference on a GPU, by the tests of linear and of fused ops (docs/decisions/0021).
const context = nullContext({ m: 16, n: 16, k: 16 });

function tensor(rows: number, cols: number, kind: "temporary" | "state" = "temporary"): Tensor {
  return { buffer: { kind, index: 0 }, offset: 0, rows, cols, stride: cols };
}

test.each(["f16", "bf16", "q8_0", "q4_0", "q4_k", "q5_k", "q6_k"] as const)(
  "is valid WGSL for %s, plain and with a convolution behind it, in tiles of each shape",
  async (dtype) => {
    const device = await nullDevice();
    for (const [outputs, inputs] of [
      [65, 256],
      [2560, 5120],
      [10576, 2560],
      [50288, 768],
    ] as const) {
      const weight: Weight = { id: 1, dtype, rows: outputs, cols: inputs };
      const plain = asFused({
        x: tensor(16, inputs),
        weight,
        bias: null,
        residual: null,
        y: tensor(16, outputs),
      });
      const vector: Weight = { id: 2, dtype: "f32", rows: 1, cols: inputs };
      const withConvolution = {
        ...plain,
        norm: "gated" as const,
        normWeight: vector,
        z: tensor(16, inputs),
        conv: tensor(16, 32),
        convWeight: { ...vector, rows: 32, cols: 4 },
        convBias: { ...vector, cols: 32 },
        convState: tensor(16, 96, "state"),
        convSilu: true,
      };
      const normedOnly = { ...withConvolution, norm: "x" as const, z: null };
      for (const operands of [plain, withConvolution, normedOnly]) {
        for (const dispatch of describeFewRowsOnMatrices(operands, context))
          expect(await problemOf(device, dispatch)).toBeNull();
      }
    }
    device.destroy();
  },
);

test("is for 5 to 16 rows of weights that are not f32, on devices with 16 × 16 matrices", () => {
  const weight: Weight = { id: 1, dtype: "q8_0", rows: 64, cols: 64 };
  const goes = [4, 5, 16, 17].map((rows) => goesToMatrices(rows, weight, context));
  expect(goes).toEqual([false, true, true, false]);
  expect(goesToMatrices(16, { ...weight, dtype: "f32" }, context)).toBe(false);
  expect(goesToMatrices(16, weight, { ...context, subgroupMatrix: null })).toBe(false);
  const small = { m: 8, n: 8, k: 8 };
  expect(goesToMatrices(16, weight, { ...context, subgroupMatrix: small })).toBe(false);
});
