import { expect, test } from "vitest";
import { dequantiseRow } from "../../kernels/spec/dequantise.ts";
import type { WeightDType } from "../../kernels/spec/dtype.ts";
import type { WeightSpec } from "../../kernels/spec/tensor.ts";
import { expectAllClose, largest } from "../../kernels/testing/all-close.ts";
import { randomPacked } from "../../kernels/testing/pack.ts";
import { seeded } from "../../kernels/testing/seeded.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { SourceDType } from "../weights/source.ts";
import { StoredTensors } from "../weights/stored-tensors.ts";
import { checkingLoader, uploadingLoader } from "./weight-loader.ts";

const ROWS = 2;
const COLS = 256;

/** Matrices (2, 256) of these types. The loader that checks reads no data. */
function sourceOf(dtypes: Readonly<Record<string, SourceDType>>): StoredTensors {
  const file = memoryFile("model.gguf", new Uint8Array());
  const tensors = Object.entries(dtypes).map(
    ([name, dtype]) =>
      [name, { name, dtype, shape: [ROWS, COLS], bytes: 0, file, offset: 0 }] as const,
  );
  return new StoredTensors("gguf", new Map(tensors), [file]);
}

test("says which tensors become another type in memory", async () => {
  const loader = checkingLoader(
    sourceOf({
      kept: "q4_k",
      old: "q4_1",
      whole: "q5_0",
      scaled: "mxfp4",
      small: "q3_k",
      half: "f16",
      turned: "bf16",
    }),
    { quantise: null },
  );
  await loader.matrix("kept", ROWS, COLS);
  await loader.matrix("old", ROWS, COLS);
  await loader.matrix("whole", ROWS, COLS);
  await loader.matrix("scaled", ROWS, COLS);
  // Parts of two types share one, and a tensor that is asked for twice is named once.
  await loader.matrix([{ name: "small" }, { name: "half" }], 2 * ROWS, COLS);
  await loader.matrix("half", ROWS, COLS);
  await loader.transposed("turned", 1, COLS, ROWS);
  const { dtypes, repacked } = loader.totals();
  expect(dtypes).toEqual({ q4_k: 1, q8_0: 3, f32: 1, f16: 1 });
  expect(repacked).toEqual([
    { tensor: "old", from: "q4_1", to: "q8_0", values: "rounded" },
    { tensor: "whole", from: "q5_0", to: "q8_0", values: "exact" },
    { tensor: "scaled", from: "mxfp4", to: "q8_0", values: "exact-in-f16-range" },
    { tensor: "small", from: "q3_k", to: "f32", values: "exact" },
    { tensor: "half", from: "f16", to: "f32", values: "exact" },
    { tensor: "turned", from: "bf16", to: "f32", values: "exact" },
  ]);
});

test("packs parts of different block types, and columns in another order, as q8_0", async () => {
  const random = seeded(4);
  const stored = (["q4_k", "q6_k"] as const).map((dtype) => {
    const bytes = randomPacked(random, dtype, ROWS, COLS, 1);
    return { name: dtype, dtype, shape: [ROWS, COLS], bytes: bytes.byteLength, packed: bytes };
  });
  const tensors = new Map(
    stored.map((tensor) => [
      tensor.name,
      { ...tensor, file: memoryFile(tensor.name, tensor.packed), offset: 0 },
    ]),
  );
  const source = new StoredTensors("gguf", tensors, []);
  const uploads: { spec: WeightSpec; bytes: Uint8Array }[] = [];
  const loader = uploadingLoader(source, { quantise: null }, async (spec, read) => {
    uploads.push({ spec, bytes: await read(0, spec.rows) });
    return { ...spec, id: uploads.length };
  });
  await loader.matrix([{ name: "q4_k" }, { name: "q6_k" }], 2 * ROWS, COLS);
  await loader.matrix([{ name: "q4_k", columnOrder: (col) => COLS - 1 - col }], ROWS, COLS);

  const values = stored.flatMap(({ dtype, packed }) => dequantised(dtype, packed, ROWS));
  const reversed = values.slice(0, ROWS).map((row) => row.toReversed());
  for (const [index, expected] of [values, reversed].entries()) {
    const upload = uploads[index];
    expect(upload?.spec.dtype).toBe("q8_0");
    const rows = dequantised("q8_0", upload?.bytes ?? new Uint8Array(), expected.length);
    rows.forEach((row, r) => {
      // Half a step of 127 to the largest value of a block, whose step is rounded to an f16.
      const absolute = largest(expected[r] ?? []) / 220;
      expectAllClose(row, expected[r] ?? [], { absolute, relative: 0 }, `row ${r}`);
    });
  }
});

function dequantised(dtype: WeightDType, packed: Uint8Array, rows: number): Float32Array[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  return Array.from({ length: rows }, (_, row) => {
    const values = new Float32Array(COLS);
    dequantiseRow(dtype, view, row, values);
    return values;
  });
}

test("leaves a router as it is when others are quantised", async () => {
  const loader = checkingLoader(sourceOf({ router: "f32", other: "f32" }), { quantise: "q8_0" });
  expect((await loader.matrix("router", ROWS, COLS, true)).dtype).toBe("f32");
  expect((await loader.matrix("other", ROWS, COLS)).dtype).toBe("q8_0");
});

test("says what quantising repacks", async () => {
  const loader = checkingLoader(sourceOf({ half: "f16", packed: "q8_0" }), { quantise: "q8_0" });
  await loader.matrix("half", ROWS, COLS);
  await loader.matrix("packed", ROWS, COLS);
  expect(loader.totals().repacked).toEqual([
    { tensor: "half", from: "f16", to: "q8_0", values: "rounded" },
  ]);
});
