import { packedRowBytes } from "../../kernels/spec/dtype.ts";
import type { ReadRows, Weight, WeightSpec } from "../../kernels/spec/tensor.ts";
import { WeightsError } from "../weights/errors.ts";
import type { TensorSource } from "../weights/source.ts";

/** How an architecture asks for its weights, each under its file's name and with the shape that it must have. */
export interface WeightLoader {
  readonly format: TensorSource["format"];
  has(name: string): boolean;
  /**
   * A matrix (rows, cols) that `linear` multiplies or `embedding` looks up; it stays packed.
   * @throws WeightsError `missing`, `mismatch`
   */
  matrix(name: string, rows: number, cols: number): Promise<Weight>;
  /**
   * A small table (rows, cols) as f32, each value through `map`. Sides of 1 in the file's shape do not count: a
   * convolution's (channels, 1, dConv) is (channels, dConv). One row may lie in the file in groups: llama.cpp's
   * `ssm_norm` is (nGroup, dInner / nGroup).
   * @throws WeightsError `missing`, `mismatch`
   */
  vector(
    name: string,
    rows: number,
    cols: number,
    map?: (value: number) => number,
  ): Promise<Weight>;
}

/** What a model's weights come to. */
export interface WeightTotals {
  readonly parameters: number;
  /** As they stay in memory. */
  readonly bytes: number;
  /** Matrices by dtype: { q8_0: 25 }. */
  readonly dtypes: Readonly<Record<string, number>>;
}

export interface LoadOptions {
  /** Matrices become q8_0 where their width allows. */
  readonly quantise: "q8_0" | null;
}

/** Checks names and shapes and adds up, but reads no data: run a model's `load` over it before the first byte is uploaded. */
export function checkingLoader(
  source: TensorSource,
  { quantise }: LoadOptions,
): WeightLoader & { totals(): WeightTotals } {
  let parameters = 0;
  let bytes = 0;
  const dtypes: Record<string, number> = {};

  function count(rows: number, cols: number, dtype: Weight["dtype"]): Weight {
    parameters += rows * cols;
    bytes += rows * packedRowBytes(dtype, cols);
    return { id: -1, dtype, rows, cols };
  }
  return {
    format: source.format,
    has: (name) => source.has(name),
    async matrix(name, rows, cols) {
      checkShape(source, name, rows, cols);
      const { dtype } = source.matrix(name, quantise);
      dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
      return count(rows, cols, dtype);
    },
    async vector(name, rows, cols) {
      checkShape(source, name, rows, cols);
      return count(rows, cols, "f32");
    },
    totals: () => ({ parameters, bytes, dtypes }),
  };
}

/** Reads the weights and hands them to a backend, one after the other. */
export function uploadingLoader(
  source: TensorSource,
  { quantise }: LoadOptions,
  upload: (spec: WeightSpec, read: ReadRows) => Promise<Weight>,
): WeightLoader {
  return {
    format: source.format,
    has: (name) => source.has(name),
    async matrix(name, rows, cols) {
      checkShape(source, name, rows, cols);
      const { dtype, read } = source.matrix(name, quantise);
      return upload({ name, dtype, rows, cols, use: "matrix" }, read);
    },
    async vector(name, rows, cols, map) {
      checkShape(source, name, rows, cols);
      const stored = await source.readF32(name);
      const values = map === undefined ? stored : stored.map((value) => map(value));
      return upload(
        { name, dtype: "f32", rows, cols, use: "vector" },
        async (first, count) =>
          new Uint8Array(values.slice(first * cols, (first + count) * cols).buffer),
      );
    },
  };
}

function checkShape(source: TensorSource, name: string, rows: number, cols: number): void {
  const { shape } = source.info(name);
  const sides = (list: readonly number[]): string => list.filter((side) => side !== 1).join(" × ");
  const flat = rows === 1 && shape.reduce((product, side) => product * side, 1) === cols;
  if (!flat && sides(shape) !== sides([rows, cols])) {
    throw new WeightsError("mismatch", {
      file: source.format,
      tensor: name,
      reason: "its shape is not what the configuration asks for",
      expected: `(${rows}, ${cols})`,
      actual: `(${shape.join(", ")})`,
    });
  }
}
