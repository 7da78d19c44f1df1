import { packedRowBytes, type WeightDType } from "../../kernels/spec/dtype.ts";
import type { ReadRows, Weight, WeightSpec } from "../../kernels/spec/tensor.ts";
import { fidelity, type Fidelity } from "../weights/blocks/exact-q8.ts";
import type { SourceDType, TensorSource } from "../weights/source.ts";
import {
  joinParts,
  mismatch,
  resolveParts,
  sharedDType,
  type MatrixParts,
} from "./matrix-parts.ts";

/** One of the tensors that make up a table; its rows matter only to who writes such a file. */
export interface VectorPart {
  readonly name: string;
  readonly rows: number;
}

/** A tensor's name, or several that are put one behind the other. */
export type VectorParts = string | readonly (string | VectorPart)[];

/** How an architecture asks for its weights, each under its file's name and with the shape that it must have. */
export interface WeightLoader {
  readonly format: TensorSource["format"];
  has(name: string): boolean;
  /**
   * A matrix (rows, cols) that `linear` multiplies or `embedding` looks up; it stays packed. All of a stored tensor's
   * dimensions before the last are rows: experts (nExpert, R, K) are (nExpert * R, K). Parts are put one below the other.
   * @param precise keeps its type when others are quantised: a router, whose rounding would choose other experts
   * @throws WeightsError `missing`, `mismatch`
   */
  matrix(from: MatrixParts, rows: number, cols: number, precise?: boolean): Promise<Weight>;
  /**
   * Blocks that are stored the other way round, (blocks, cols, rows) for y = x W: a matrix (blocks * rows, cols) in f32. For
   * small ones: it is read as a whole. Parts make up the (blocks * cols) rows that are stored.
   * @param only of each block this row alone, a matrix (blocks, cols): one tap of a grouped convolution
   * @throws WeightsError `missing`, `mismatch`
   */
  transposed(
    from: MatrixParts,
    blocks: number,
    rows: number,
    cols: number,
    only?: number,
  ): Promise<Weight>;
  /**
   * A small table (rows, cols) as f32, each value through `map`. Sides of 1 in the file's shape do not count: a
   * convolution's (channels, 1, dConv) is (channels, dConv). One row may lie in the file in groups: llama.cpp's
   * `ssm_norm` is (nGroup, dInner / nGroup). Several tensors are put one behind the other. `order` says which of the stored
   * values, counted over all of them, stands at `index`; then comes `map`.
   * @throws WeightsError `missing`, `mismatch`
   */
  vector(
    from: VectorParts,
    rows: number,
    cols: number,
    map?: (value: number, index: number) => number,
    order?: (index: number) => number,
  ): Promise<Weight>;
  /** A table that follows from the configuration, not from the file: rotary frequencies, ones. */
  constant(name: string, rows: number, cols: number, values: Float32Array): Promise<Weight>;
}

/** What a model's weights come to. */
export interface WeightTotals {
  readonly parameters: number;
  /** As they stay in memory. */
  readonly bytes: number;
  /** Matrices by dtype: { q8_0: 25 }. */
  readonly dtypes: Readonly<Record<string, number>>;
  /** Matrices that stay in memory as another type than the file's, in the order of loading. */
  readonly repacked: readonly Repacked[];
}

/** A tensor of a matrix, its type in the file and the one in memory. */
export interface Repacked {
  readonly tensor: string;
  readonly from: SourceDType;
  readonly to: WeightDType;
  readonly values: Fidelity;
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
  const repacked = new Map<string, Repacked>();

  /** @param mixed tensors whose columns change their order, and so their blocks */
  function compare(
    names: readonly string[],
    to: WeightDType,
    mixed: ReadonlySet<string> = new Set(),
  ): void {
    for (const tensor of names) {
      const from = source.info(tensor).dtype;
      if (from === to) continue;
      const values = mixed.has(tensor) && to !== "f32" ? "rounded" : fidelity(from, to);
      repacked.set(tensor, { tensor, from, to, values });
    }
  }

  function count(rows: number, cols: number, dtype: Weight["dtype"]): Weight {
    parameters += rows * cols;
    bytes += rows * packedRowBytes(dtype, cols);
    return { id: -1, dtype, rows, cols };
  }
  return {
    format: source.format,
    has: (name) => source.has(name),
    async matrix(from, rows, cols, precise = false) {
      const parts = partsOf(source, from, rows, cols);
      const { dtype } = sharedDType(source, parts, precise ? null : quantise);
      dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
      const mixed = parts.filter(({ columnOrder }) => columnOrder !== null);
      compare(namesOf(from), dtype, new Set(mixed.map(({ name }) => name)));
      return count(rows, cols, dtype);
    },
    async transposed(from, blocks, rows, cols, only) {
      checkTransposed(source, from, blocks, rows, cols);
      compare(namesOf(from), "f32");
      return count(only === undefined ? blocks * rows : blocks, cols, "f32");
    },
    async vector(from, rows, cols) {
      checkVector(source, from, rows, cols);
      return count(rows, cols, "f32");
    },
    constant: async (_, rows, cols) => ({ id: -1, dtype: "f32", rows, cols }),
    totals: () => ({ parameters, bytes, dtypes, repacked: [...repacked.values()] }),
  };
}

/** Reads the weights and hands them to a backend, one after the other. */
export function uploadingLoader(
  source: TensorSource,
  { quantise }: LoadOptions,
  upload: (spec: WeightSpec, read: ReadRows) => Promise<Weight>,
): WeightLoader {
  function uploadTable(
    name: string,
    use: WeightSpec["use"],
    rows: number,
    cols: number,
    values: Float32Array,
  ): Promise<Weight> {
    return upload(
      { name, dtype: "f32", rows, cols, use },
      async (first, count) =>
        new Uint8Array(values.slice(first * cols, (first + count) * cols).buffer),
    );
  }
  return {
    format: source.format,
    has: (name) => source.has(name),
    async matrix(from, rows, cols, precise = false) {
      const parts = partsOf(source, from, rows, cols);
      const { dtype, read } = joinParts(source, parts, cols, precise ? null : quantise);
      return upload({ name: parts[0]?.name ?? "", dtype, rows, cols, use: "matrix" }, read);
    },
    async transposed(from, blocks, rows, cols, only) {
      checkTransposed(source, from, blocks, rows, cols);
      const values = await readTransposed(source, from, blocks, rows, cols);
      const name = typeof from === "string" ? from : (from[0]?.name ?? "");
      if (only === undefined) return uploadTable(name, "matrix", blocks * rows, cols, values);
      const picked = new Float32Array(blocks * cols);
      for (let block = 0; block < blocks; block++) {
        const at = (block * rows + only) * cols;
        picked.set(values.subarray(at, at + cols), block * cols);
      }
      return uploadTable(name, "matrix", blocks, cols, picked);
    },
    async vector(from, rows, cols, map, order) {
      checkVector(source, from, rows, cols);
      const values = await readVector(source, from, rows * cols, map, order);
      return uploadTable(namesOf(from)[0] ?? "", "vector", rows, cols, values);
    },
    constant: (name, rows, cols, values) => uploadTable(name, "vector", rows, cols, values),
  };
}

/** A single tensor must have exactly the shape; parts are checked against each other. */
function partsOf(
  source: TensorSource,
  from: MatrixParts,
  rows: number,
  cols: number,
): ReturnType<typeof resolveParts> {
  return resolveParts(source, typeof from === "string" ? [{ name: from }] : from, rows, cols);
}

function namesOf(from: MatrixParts | VectorParts): readonly string[] {
  if (typeof from === "string") return [from];
  return from.map((part) => (typeof part === "string" ? part : part.name));
}

function checkVector(source: TensorSource, from: VectorParts, rows: number, cols: number): void {
  if (typeof from === "string") checkShape(source, from, rows, cols);
  else {
    const names = namesOf(from);
    const values = names.reduce((sum, name) => sum + valuesIn(source.info(name).shape), 0);
    const [first = ""] = names;
    if (values !== rows * cols) throw mismatch(source, first, `${rows * cols} values in all`);
  }
}

function checkTransposed(
  source: TensorSource,
  from: MatrixParts,
  blocks: number,
  rows: number,
  cols: number,
): void {
  if (typeof from !== "string") resolveParts(source, from, blocks * cols, rows);
  else if (valuesIn(source.info(from).shape) !== blocks * rows * cols)
    throw mismatch(source, from, `${blocks * rows * cols} values`);
}

/** What `WeightLoader.transposed` asks for: (blocks * rows, cols). */
export async function readTransposed(
  source: TensorSource,
  from: MatrixParts,
  blocks: number,
  rows: number,
  cols: number,
): Promise<Float32Array> {
  const stored = await readStored(source, from, blocks * cols, rows);
  const values = new Float32Array(stored.length);
  for (let block = 0; block < blocks; block++) {
    const at = block * rows * cols;
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        values[at + row * cols + col] = stored[at + col * rows + row] ?? 0;
      }
    }
  }
  return values;
}

async function readStored(
  source: TensorSource,
  from: MatrixParts,
  rows: number,
  cols: number,
): Promise<Float32Array> {
  if (typeof from === "string") return source.readF32(from);
  const parts = resolveParts(source, from, rows, cols);
  const packed = await joinParts(source, parts, cols, "f32").read(0, rows);
  return new Float32Array(packed.buffer);
}

/** What `WeightLoader.vector` asks for: (values) in one array. */
export async function readVector(
  source: TensorSource,
  from: VectorParts,
  values: number,
  map?: (value: number, index: number) => number,
  order?: (index: number) => number,
): Promise<Float32Array> {
  const stored = new Float32Array(values);
  let at = 0;
  for (const name of namesOf(from)) {
    const part = await source.readF32(name);
    stored.set(part, at);
    at += part.length;
  }
  const ordered =
    order === undefined ? stored : stored.map((_, index) => stored[order(index)] ?? 0);
  return map === undefined ? ordered : ordered.map((value, index) => map(value, index));
}

function checkShape(source: TensorSource, name: string, rows: number, cols: number): void {
  const { shape } = source.info(name);
  const sides = (list: readonly number[]): string => list.filter((side) => side !== 1).join(" × ");
  const flat = rows === 1 && valuesIn(shape) === cols;
  if (!flat && sides(shape) !== sides([rows, cols]))
    throw mismatch(source, name, `(${rows}, ${cols})`);
}

function valuesIn(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}
