import { expect, test } from "vitest";
import { create } from "webgpu";
import type { WeightDType } from "../../spec/dtype.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import type { Dispatch, DispatchContext, SubgroupMatrixShape } from "../../wgsl/dispatch.ts";
import { describeMatrixProduct, matrixUnitFor } from "./linear-matrix.webgpu.ts";

// Adapters without matrix units, as on most machines that run tests, never see these shaders; Dawn's null backend still
// checks them. What they compute was compared with the reference on GPUs (docs/decisions/0013).
const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);

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
  expect(matrixUnitFor(weight, context({ m: 16, n: 16, k: 16 }))).toBeNull();
});

async function nullDevice(): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Error("Dawn has no null backend here.");
  const features = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];
  return adapter.requestDevice({
    requiredFeatures: features.filter((name): name is GPUFeatureName => adapter.features.has(name)),
  });
}

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
    },
    { shape, subgroupSize: 32 },
    context(shape),
  );
}

function context(subgroupMatrix: SubgroupMatrixShape): DispatchContext {
  return {
    subgroupSize: 32,
    f16: true,
    subgroupMatrix,
    software: false,
    place: () => 0,
    target: () => 0,
    slot: () => ({ name: "none", shape: [1] }),
    scratch: () => 0,
    parts: ({ rows }) => [{ firstRow: 0, rows }],
  };
}

async function problemOf(device: GPUDevice, { shader }: Dispatch): Promise<string | null> {
  const extensions = [
    "f16",
    "subgroups",
    ...(shader.subgroupMatrix === true ? ["chromium_experimental_subgroup_matrix"] : []),
  ];
  const code = [
    ...extensions.map((name) => `enable ${name};`),
    ...Object.entries(shader.consts ?? {}).map(
      ([name, value]) => `const ${name}: u32 = ${value}u;`,
    ),
    ...shader.parts,
  ].join("\n");
  device.pushErrorScope("validation");
  device.createShaderModule({ code });
  return (await device.popErrorScope())?.message ?? null;
}
