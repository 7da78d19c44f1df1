import { expect, test } from "vitest";
import type { WeightDType } from "../../spec/dtype.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { nullContext, nullDevice, problemOf } from "../../wgsl/null-gpu.testing.ts";
import type { Dispatch, SubgroupMatrixShape } from "../../wgsl/dispatch.ts";
import { noPrologue } from "./fused-linear.ts";
import { describeMatrixProduct, matrixUnitFor } from "./linear-matrix.webgpu.ts";

// What these compute was compared with the reference on GPUs, by the tests of linear (docs/decisions/0013).
const SHAPES: readonly SubgroupMatrixShape[] = [
  { m: 16, n: 16, k: 16 },
  { m: 16, n: 8, k: 16 },
  { m: 8, n: 8, k: 8 },
];

test.each(SHAPES)("is valid WGSL for matrices of $m × $n × $k", async (shape) => {
  const device = await nullDevice();
  for (const dtype of ["f16", "bf16", "q8_0", "q4_0", "q4_k", "q6_k"] as const) {
    // The second has outputs on no multiple of four; both sizes of tile are among them.
    for (const outputs of [4096, 65]) {
      for (const dispatch of dispatchesOf(shape, dtype, outputs)) {
        expect(await problemOf(device, dispatch), `${dtype}, ${outputs}`).toBeNull();
      }
    }
  }
  device.destroy();
});

test("is not for weights in f32", () => {
  const weight: Weight = { id: 1, dtype: "f32", rows: 64, cols: 64 };
  expect(matrixUnitFor(weight, nullContext({ m: 16, n: 16, k: 16 }))).toBeNull();
});

function dispatchesOf(
  shape: SubgroupMatrixShape,
  dtype: WeightDType,
  outputs: number,
): readonly Dispatch[] {
  const [rows, cols] = [512, 768];
  const tensor = (width: number): Tensor => ({
    buffer: { kind: "temporary", index: 0 },
    offset: 0,
    rows,
    cols: width,
    stride: width,
  });
  return describeMatrixProduct(
    {
      x: tensor(cols),
      weight: { id: 1, dtype, rows: outputs, cols },
      bias: null,
      residual: null,
      y: tensor(outputs),
      ...noPrologue,
    },
    { shape, subgroupSize: 32 },
    nullContext(shape),
  );
}
