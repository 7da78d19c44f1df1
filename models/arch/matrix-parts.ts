import { packedRowBytes, WEIGHT_BLOCKS, type WeightDType } from "../../kernels/spec/dtype.ts";
import { encodeF32 } from "../weights/convert.ts";
import { WeightsError } from "../weights/errors.ts";
import type { EncodedDType, SourceMatrix, TensorSource } from "../weights/source.ts";

/** Rows of one stored tensor: all before the last dimension counts as rows. */
export interface MatrixPart {
  readonly name: string;
  /** 0 if left out. */
  readonly firstRow?: number;
  /** All from `firstRow` on if left out. */
  readonly rows?: number;
  /** Rows that the whole stored tensor must have, where the part is not all of it. */
  readonly storedRows?: number;
  /** The stored row (counted from `firstRow`) that stands in row `row` of the part: for heads that lie interleaved. */
  readonly order?: (row: number) => number;
  /** The stored column that stands in column `col`. Only for tensors that may be read as f32 and packed again. */
  readonly columnOrder?: (col: number) => number;
}

/** A tensor's name, or parts that are put one below the other. */
export type MatrixParts = string | readonly MatrixPart[];

interface ResolvedPart {
  readonly name: string;
  readonly firstRow: number;
  readonly rows: number;
  readonly order: ((row: number) => number) | null;
  readonly columnOrder: ((col: number) => number) | null;
}

/**
 * The parts with their row counts, checked against the tensors and against (rows, cols).
 * @throws WeightsError `missing`, `mismatch`
 */
export function resolveParts(
  source: TensorSource,
  parts: readonly MatrixPart[],
  rows: number,
  cols: number,
): readonly ResolvedPart[] {
  const resolved = parts.map((part): ResolvedPart => {
    const { name, firstRow = 0, rows: given, order = null, columnOrder = null } = part;
    const { shape } = source.info(name);
    const values = shape.reduce((product, side) => product * side, 1);
    const count = given ?? values / cols - firstRow;
    const { storedRows = values / cols } = part;
    const fits =
      (shape.at(-1) === cols || values === cols) &&
      (firstRow + count) * cols <= values &&
      storedRows * cols === values &&
      count > 0;
    if (!fits || !Number.isInteger(count)) {
      const asked = `${given ?? "some"} rows of ${cols} from row ${firstRow}`;
      throw mismatch(source, name, parts.length === 1 ? `(${rows}, ${cols})` : asked);
    }
    return { name, firstRow, rows: count, order, columnOrder };
  });
  const total = resolved.reduce((sum, part) => sum + part.rows, 0);
  if (total !== rows) {
    const [first] = resolved;
    const asked = parts.length === 1 ? "" : ` in all, not ${total} rows`;
    throw mismatch(source, first?.name ?? "", `(${rows}, ${cols})${asked}`);
  }
  return resolved;
}

/**
 * The dtype that the parts have together: their own if they agree, else q8_0 if all lie in blocks, as those of GGUF files that
 * mix q4_k and q6_k, and f32 if one does not.
 */
export function sharedDType(
  source: TensorSource,
  parts: readonly ResolvedPart[],
  as: EncodedDType | null,
): { readonly dtype: WeightDType; readonly as: EncodedDType | null } {
  const dtypes = new Set(parts.map(({ name }) => source.matrix(name, as).dtype));
  const [only] = dtypes;
  const packable = parts.every(({ columnOrder }) => columnOrder === null) || isEncoded(only);
  if (dtypes.size === 1 && only !== undefined && packable) return { dtype: only, as };
  const inBlocks = [...dtypes].every((dtype) => WEIGHT_BLOCKS[dtype].values > 1);
  return inBlocks ? { dtype: "q8_0", as: "q8_0" } : { dtype: "f32", as: "f32" };
}

/** Whether values can be packed into this dtype here. */
function isEncoded(dtype: WeightDType | undefined): dtype is EncodedDType {
  return dtype === "f32" || dtype === "f16" || dtype === "bf16" || dtype === "q8_0";
}

/** The parts as one matrix; rows that lie together in the file are read together. */
export function joinParts(
  source: TensorSource,
  parts: readonly ResolvedPart[],
  cols: number,
  as: EncodedDType | null,
): SourceMatrix {
  const { dtype, as: shared } = sharedDType(source, parts, as);
  const matrices = parts.map(({ name, columnOrder }) =>
    columnOrder !== null && isEncoded(dtype)
      ? withColumnOrder(source.matrix(name, "f32"), columnOrder, dtype)
      : source.matrix(name, shared),
  );
  const rowBytes = packedRowBytes(dtype, cols);
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);

  function locate(row: number): Pick<Place, "matrix" | "stored"> {
    let from = row;
    for (const [index, part] of parts.entries()) {
      if (from < part.rows)
        return { matrix: index, stored: part.firstRow + (part.order?.(from) ?? from) };
      from -= part.rows;
    }
    throw new RangeError(`row ${row} of ${rows}`);
  }

  return {
    dtype,
    rows,
    cols,
    async read(firstRow, rowCount) {
      const packed = new Uint8Array(rowCount * rowBytes);
      const places = Array.from({ length: rowCount }, (_, row) => ({
        ...locate(firstRow + row),
        row,
      }));
      for (const run of runsOf(places)) {
        const [start] = run;
        const bytes = start && (await matrices[start.matrix]?.read(start.stored, run.length));
        run.forEach(({ row }, at) => {
          const packedRow = bytes?.subarray(at * rowBytes, (at + 1) * rowBytes);
          if (packedRow !== undefined) packed.set(packedRow, row * rowBytes);
        });
      }
      return packed;
    },
  };
}

/** Where a row of the joined matrix lies. */
interface Place {
  readonly matrix: number;
  /** The row of that matrix. */
  readonly stored: number;
  /** The row of what is read. */
  readonly row: number;
}

/** Rows that follow each other in the file, whatever their order here: heads that lie interleaved are read at once. */
function runsOf(places: readonly Place[]): Place[][] {
  const runs: Place[][] = [];
  for (const place of places.toSorted((a, b) => a.matrix - b.matrix || a.stored - b.stored)) {
    const run = runs.at(-1);
    const before = run?.at(-1);
    if (before?.matrix === place.matrix && before.stored + 1 === place.stored) run?.push(place);
    else runs.push([place]);
  }
  return runs;
}

/** The columns of an f32 matrix in another order, packed as `dtype`. */
function withColumnOrder(
  matrix: SourceMatrix,
  columnOrder: (col: number) => number,
  dtype: EncodedDType,
): SourceMatrix {
  const { rows, cols } = matrix;
  const from = Int32Array.from({ length: cols }, (_, col) => columnOrder(col));
  return {
    dtype,
    rows,
    cols,
    async read(firstRow, rowCount) {
      const bytes = await matrix.read(firstRow, rowCount);
      const stored = new Float32Array(bytes.slice().buffer);
      return encodeF32(
        dtype,
        stored.map((_, i) => stored[i - (i % cols) + (from[i % cols] ?? 0)] ?? 0),
      );
    },
  };
}

/** That a tensor has not the shape that the configuration asks for. */
export function mismatch(source: TensorSource, name: string, expected: string): WeightsError {
  return new WeightsError("mismatch", {
    file: source.format,
    tensor: name,
    reason: "its shape is not what the configuration asks for",
    expected,
    actual: `(${source.info(name).shape.join(", ")})`,
  });
}
