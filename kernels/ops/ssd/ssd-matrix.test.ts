import { expect, test } from "vitest";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import type { Dispatch, DispatchContext } from "../../wgsl/dispatch.ts";
import { nullContext, nullDevice, problemOf } from "../../wgsl/null-gpu.testing.ts";
import { describeSsd } from "./ssd.webgpu.ts";

// What these compute is compared with the reference on GPUs, by the tests of ssd.
const context = nullContext({ m: 16, n: 16, k: 16 });

test("is valid WGSL on matrix units", async () => {
  const device = await nullDevice();
  const dispatches = dispatchesOf({}, context);
  expect(dispatches.map(({ entryPoint }) => entryPoint)).toEqual([
    "ssd_scores",
    "ssd_ends_matrix",
    "ssd_combine_matrix",
    "ssd_output_matrix",
  ]);
  for (const dispatch of dispatches) {
    expect(await problemOf(device, dispatch), dispatch.entryPoint).toBeNull();
  }
  device.destroy();
});

test.each([
  { what: "a step", sizes: { length: 1 } },
  { what: "a few tokens", sizes: { length: 23 } },
  { what: "other channels of a head", sizes: { headDim: 32 } },
  { what: "other states", sizes: { dState: 64 } },
  { what: "rows on no multiple of four", sizes: { stride: 4229 } },
])("is not for $what", ({ sizes }) => {
  expect(isOnMatrices(sizes, context)).toBe(false);
});

test.each([
  { what: "round nothing", other: { roundsToF16: false } },
  { what: "have other matrices", other: { subgroupMatrix: { m: 8, n: 8, k: 8 } } },
  { what: "have other subgroups", other: { subgroupSize: 64 } },
])("is not for devices or plans that $what", ({ other }) => {
  expect(isOnMatrices({}, { ...context, ...other })).toBe(false);
});

interface Sizes {
  readonly length?: number;
  readonly headDim?: number;
  readonly dState?: number;
  readonly stride?: number;
}

function isOnMatrices(sizes: Sizes, on: DispatchContext): boolean {
  return dispatchesOf(sizes, on).some(({ shader }) => shader.subgroupMatrix === true);
}

function dispatchesOf(
  { length = 200, headDim = 64, dState = 128, stride = 4096 }: Sizes,
  on: DispatchContext,
): readonly Dispatch[] {
  const nHead = 4;
  const tensor = (cols: number): Tensor => ({
    buffer: { kind: "temporary", index: 0 },
    offset: 0,
    rows: length,
    cols,
    stride,
  });
  const vector: Weight = { id: 1, dtype: "f32", rows: 1, cols: nHead };
  return describeSsd(
    {
      x: tensor(nHead * headDim),
      dtRaw: tensor(nHead),
      dtBias: vector,
      dtSoftplus: true,
      dtMin: 0,
      dtMax: Infinity,
      A: vector,
      B: tensor(dState),
      C: tensor(dState),
      D: vector,
      z: tensor(nHead * headDim),
      state: {
        buffer: { kind: "state", index: 0 },
        offset: 0,
        rows: 1,
        cols: nHead * headDim * dState,
        stride: nHead * headDim * dState,
      },
      nGroup: 1,
      chunkSize: 256,
      length,
      y: tensor(nHead * headDim),
    },
    on,
  );
}
