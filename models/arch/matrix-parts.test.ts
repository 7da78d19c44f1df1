import { expect, test } from "vitest";
import { dequantiseRow } from "../../kernels/spec/dequantise.ts";
import type { Weight } from "../../kernels/spec/tensor.ts";
import { safetensorsFile } from "../testing/stored-tensors.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { openModel } from "../weights/open-model.ts";
import type { TensorSource } from "../weights/source.ts";
import type { MatrixPart } from "./matrix-parts.ts";
import { uploadingLoader, type LoadOptions } from "./weight-loader.ts";

const COLS = 64;

/** Two matrices of three rows whose values say where they are stored: 100 · row + column, negative in `b`. */
async function source(): Promise<TensorSource> {
  const values = Float32Array.from(
    { length: 3 * COLS },
    (_, i) => 100 * Math.floor(i / COLS) + (i % COLS),
  );
  const config = new TextEncoder().encode(JSON.stringify({ model_type: "mamba" }));
  const { tensors } = await openModel([
    memoryFile("config.json", config),
    safetensorsFile(
      new Map([
        ["a", { shape: [3, COLS], values }],
        ["b", { shape: [3, COLS], values: values.map((value) => -value) }],
      ]),
    ),
  ]);
  return tensors;
}

/** What a loader uploads, dequantised. */
async function uploaded(
  from: TensorSource,
  quantise: LoadOptions["quantise"],
  load: (loader: ReturnType<typeof uploadingLoader>) => Promise<Weight>,
): Promise<{ dtype: string; rows: number[][] }> {
  const rows: number[][] = [];
  const { dtype } = await load(
    uploadingLoader(from, { quantise }, async (spec, read) => {
      const packed = await read(0, spec.rows);
      for (let row = 0; row < spec.rows; row++) {
        const out = new Float32Array(spec.cols);
        dequantiseRow(spec.dtype, new DataView(packed.buffer, packed.byteOffset), row, out);
        rows.push([...out]);
      }
      return { id: 0, ...spec };
    }),
  );
  return { dtype, rows };
}

function columns(row: number, order = (col: number): number => col): number[] {
  return Array.from({ length: COLS }, (_, col) => 100 * row + order(col));
}

/** The two halves of each row change places. */
function halvesTurned(col: number): number {
  return (col + COLS / 2) % COLS;
}

test("puts rows and columns of parts where they are asked for", async () => {
  const parts: readonly MatrixPart[] = [
    { name: "a", rows: 2, storedRows: 3, order: (row) => 2 - 2 * row },
    { name: "a", firstRow: 1, rows: 1, columnOrder: halvesTurned },
  ];
  const given = await uploaded(await source(), null, (loader) => loader.matrix(parts, 3, COLS));
  expect(given).toEqual({ dtype: "f32", rows: [columns(2), columns(0), columns(1, halvesTurned)] });
});

test("rounds to blocks only after the columns are in order", async () => {
  const from = await source();
  const plain = await uploaded(from, "q8_0", (loader) => loader.matrix("a", 3, COLS));
  const turned = await uploaded(from, "q8_0", (loader) =>
    loader.matrix([{ name: "a", columnOrder: halvesTurned }], 3, COLS),
  );
  expect(turned.dtype).toBe("q8_0");
  // Whole blocks changed places, so each was rounded as it was before.
  expect(turned.rows).toEqual(
    plain.rows.map((row) => row.map((_, col) => row[halvesTurned(col)] ?? NaN)),
  );
});

test("refuses a tensor with other rows than a part expects", async () => {
  const from = await source();
  const parts: readonly MatrixPart[] = [{ name: "a", rows: 2, storedRows: 4 }];
  await expect(uploaded(from, null, (loader) => loader.matrix(parts, 2, COLS))).rejects.toThrow(
    /"?a"?/,
  );
});

test("puts a table's values in order before they are mapped", async () => {
  const given = await uploaded(await source(), null, (loader) =>
    loader.vector(
      ["a", { name: "b", rows: 3 }],
      6,
      COLS,
      (value, index) => value + (index === 0 ? 0.5 : 0),
      (index) => 6 * COLS - 1 - index,
    ),
  );
  expect(given.rows[0]?.slice(0, 2)).toEqual([-(200 + COLS - 1) + 0.5, -(200 + COLS - 2)]);
  expect(given.rows[5]?.slice(-2)).toEqual([1, 0]);
});
