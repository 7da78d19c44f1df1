import { expect, test } from "vitest";
import { memoryFile } from "../weights/memory-file.ts";
import type { SourceDType } from "../weights/source.ts";
import { StoredTensors } from "../weights/stored-tensors.ts";
import { checkingLoader } from "./weight-loader.ts";

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
    sourceOf({ kept: "q4_k", old: "q4_1", small: "q3_k", half: "f16", turned: "bf16" }),
    { quantise: null },
  );
  await loader.matrix("kept", ROWS, COLS);
  await loader.matrix("old", ROWS, COLS);
  // Parts of two types share one, and a tensor that is asked for twice is named once.
  await loader.matrix([{ name: "small" }, { name: "half" }], 2 * ROWS, COLS);
  await loader.matrix("half", ROWS, COLS);
  await loader.transposed("turned", 1, COLS, ROWS);
  const { dtypes, repacked } = loader.totals();
  expect(dtypes).toEqual({ q4_k: 1, q8_0: 1, f32: 1, f16: 1 });
  expect(repacked).toEqual([
    { tensor: "old", from: "q4_1", to: "q8_0" },
    { tensor: "small", from: "q3_k", to: "f32" },
    { tensor: "half", from: "f16", to: "f32" },
    { tensor: "turned", from: "bf16", to: "f32" },
  ]);
});

test("says what quantising repacks", async () => {
  const loader = checkingLoader(sourceOf({ half: "f16", packed: "q8_0" }), { quantise: "q8_0" });
  await loader.matrix("half", ROWS, COLS);
  await loader.matrix("packed", ROWS, COLS);
  expect(loader.totals().repacked).toEqual([{ tensor: "half", from: "f16", to: "q8_0" }]);
});
