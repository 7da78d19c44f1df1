/**
 * Dawn's null backend: it computes nothing, and checks shaders of features that no adapter here has, matrix units above all. What such
 * shaders compute is compared with the reference on a GPU, by the tests of their ops.
 */
import { create } from "webgpu";
import type { Dispatch, DispatchContext, SubgroupMatrixShape } from "./dispatch.ts";

const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);

/** A device with f16, subgroups and their matrices. */
export async function nullDevice(): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter();
  if (adapter === null) throw new Error("Dawn has no null backend here.");
  const features = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];
  return adapter.requestDevice({
    requiredFeatures: features.filter((name): name is GPUFeatureName => adapter.features.has(name)),
  });
}

/** What dispatches are described for on such a device. */
export function nullContext(subgroupMatrix: SubgroupMatrixShape): DispatchContext {
  return {
    subgroupSize: 32,
    f16: true,
    subgroupMatrix,
    roundsToF16: true,
    software: false,
    place: () => 0,
    target: () => 0,
    ids: 0,
    slot: () => ({ name: "none", shape: [1] }),
    scratch: () => 0,
    parts: ({ rows }) => [{ firstRow: 0, rows }],
  };
}

/** What the compiler has to say against a dispatch's shader; null where nothing. */
export async function problemOf(device: GPUDevice, { shader }: Dispatch): Promise<string | null> {
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
