/**
 * What each tensor of the GGUF file is made of. An architecture asks for its weights in the same order and shapes
 * whatever the format; laid beside each other, its two lists of questions say where every row and value goes.
 */
import type { Weight } from "../../kernels/spec/tensor.ts";
import type { Model } from "../arch/architecture.ts";
import {
  joinParts,
  resolveParts,
  type MatrixPart,
  type MatrixParts,
} from "../arch/matrix-parts.ts";
import {
  readTransposed,
  readVector,
  type VectorPart,
  type VectorParts,
  type WeightLoader,
} from "../arch/weight-loader.ts";
import type { TensorSource } from "../weights/source.ts";
import { ConversionError } from "./errors.ts";

/** One tensor to be written, as f32 rows. */
export interface PlannedTensor {
  readonly name: string;
  readonly use: "matrix" | "vector";
  readonly rows: number;
  readonly cols: number;
  /** Rows `first … first + count - 1`. */
  read(first: number, count: number): Promise<Float32Array>;
}

/** A question that an architecture asked. */
type Question =
  | {
      readonly kind: "matrix";
      readonly from: readonly MatrixPart[];
      readonly rows: number;
      readonly cols: number;
    }
  | {
      readonly kind: "transposed";
      readonly from: MatrixParts;
      /** Of all blocks. */
      readonly rows: number;
      readonly rowsOfBlock: number;
      readonly cols: number;
    }
  | {
      readonly kind: "vector";
      readonly from: VectorParts;
      readonly rows: number;
      readonly cols: number;
      readonly map: ((value: number, index: number) => number) | null;
      readonly order: ((index: number) => number) | null;
    };

/**
 * The tensors in the order in which the architecture asks for them, each once.
 * @throws ConversionError if the two lists do not fit each other; WeightsError as loading does
 */
export async function planTensors(model: Model, source: TensorSource): Promise<PlannedTensor[]> {
  const given = await questions(model, "safetensors", (name) => source.has(name));
  // What the other format has in one of several ways is written in the way that is asked about first.
  const wanted = await questions(model, "gguf", () => true);
  if (given.length !== wanted.length)
    throw mismatch(model, `${given.length} weights in one format, ${wanted.length} in the other`);
  const planned = new Map<string, Assembly>();
  for (const [index, want] of wanted.entries()) {
    const have = given[index];
    if (have === undefined || have.rows !== want.rows || have.cols !== want.cols)
      throw mismatch(model, `weight ${index} has another shape in the other format`);
    await addQuestion(model, planned, want, answerOf(source, have));
  }
  return [...planned].map(([name, assembly]) => assembly.finish(name));
}

/** Collects rows for one tensor; several questions may each ask for a part of it. */
class Assembly {
  readonly #use: "matrix" | "vector";
  readonly #cols: number;
  readonly #rows: { readonly answer: Answer; readonly row: number }[] = [];
  #columns: ((col: number) => number) | null = null;

  constructor(use: "matrix" | "vector", cols: number) {
    this.#use = use;
    this.#cols = cols;
  }

  put(stored: number, answer: Answer, row: number): void {
    this.#rows[stored] = { answer, row };
  }

  /** Stored column `columns(col)` takes column `col`. */
  reorder(columns: (col: number) => number): void {
    this.#columns = columns;
  }

  finish(name: string): PlannedTensor {
    const rows = this.#rows;
    const cols = this.#cols;
    const columns = this.#columns;
    for (let row = 0; row < rows.length; row++) {
      if (rows[row] === undefined)
        throw new ConversionError(`nothing is known of row ${row} of ${name}`, { tensor: name });
    }
    return {
      name,
      use: this.#use,
      rows: rows.length,
      cols,
      async read(first, count) {
        const out = new Float32Array(count * cols);
        for (let row = 0; row < count;) {
          const start = rows[first + row];
          if (start === undefined) throw new RangeError(`row ${first + row} of ${name}`);
          let run = 1;
          while (row + run < count) {
            const next = rows[first + row + run];
            if (next?.answer !== start.answer || next.row !== start.row + run) break;
            run++;
          }
          out.set(await start.answer(start.row, run), row * cols);
          row += run;
        }
        return columns === null ? out : reordered(out, cols, columns);
      },
    };
  }
}

/** Rows of a weight as the backends would have it, in f32. */
type Answer = (first: number, count: number) => Promise<Float32Array>;

function answerOf(source: TensorSource, have: Question): Answer {
  const { cols } = have;
  switch (have.kind) {
    case "matrix": {
      const parts = resolveParts(source, have.from, have.rows, cols);
      const { read } = joinParts(source, parts, cols, "f32");
      return async (first, count) => {
        const bytes = await read(first, count);
        return new Float32Array(bytes.slice().buffer);
      };
    }
    case "transposed": {
      const { from, rows, rowsOfBlock } = have;
      return once(() => readTransposed(source, from, rows / rowsOfBlock, rowsOfBlock, cols), cols);
    }
    case "vector":
      return once(
        () =>
          readVector(
            source,
            have.from,
            have.rows * cols,
            have.map ?? undefined,
            have.order ?? undefined,
          ),
        cols,
      );
  }
}

/** Rows out of values that are small enough to be read as a whole. */
function once(read: () => Promise<Float32Array>, cols: number): Answer {
  let values: Promise<Float32Array> | null = null;
  return async (first, count) => {
    values ??= read();
    return (await values).slice(first * cols, (first + count) * cols);
  };
}

async function addQuestion(
  model: Model,
  planned: Map<string, Assembly>,
  want: Question,
  answer: Answer,
): Promise<void> {
  const assembly = (name: string, use: "matrix" | "vector", cols: number): Assembly => {
    const known = planned.get(name) ?? new Assembly(use, cols);
    planned.set(name, known);
    return known;
  };
  switch (want.kind) {
    case "matrix": {
      let at = 0;
      const [only] = want.from;
      for (const part of want.from) {
        const count = part.rows ?? (want.from.length === 1 ? want.rows : null);
        if (count === null || only === undefined)
          throw mismatch(model, `${part.name} does not say how many rows it gives`);
        const target = assembly(part.name, "matrix", want.cols);
        if (part.columnOrder !== undefined) target.reorder(part.columnOrder);
        for (let row = 0; row < count; row++) {
          target.put((part.firstRow ?? 0) + (part.order?.(row) ?? row), answer, at + row);
        }
        at += count;
      }
      return;
    }
    case "vector": {
      const { order } = want;
      const parts = partsOf(want.from, want.rows);
      if (want.map !== null || parts === null || (order !== null && parts.length > 1))
        throw mismatch(
          model,
          `a table of (${want.rows}, ${want.cols}) is not read as it is stored`,
        );
      const stored =
        order === null
          ? answer
          : once(async () => inverted(await answer(0, want.rows), order), want.cols);
      let at = 0;
      for (const { name, rows } of parts) {
        const target = assembly(name, "vector", want.cols);
        for (let row = 0; row < rows; row++) target.put(row, stored, at + row);
        at += rows;
      }
      return;
    }
    case "transposed":
      throw mismatch(model, `weight of (${want.rows}, ${want.cols}) is not read as it is stored`);
  }
}

/** The tensors of a table with their rows, or null where those are not said. */
function partsOf(from: VectorParts, rows: number): readonly VectorPart[] | null {
  const list = typeof from === "string" ? [from] : from;
  const parts = list.map((part) =>
    typeof part !== "string" ? part : { name: part, rows: list.length === 1 ? rows : NaN },
  );
  return parts.reduce((sum, part) => sum + part.rows, 0) === rows ? parts : null;
}

/** `out[order(i)] = values[i]`. */
function inverted(values: Float32Array, order: (index: number) => number): Float32Array {
  const out = new Float32Array(values.length);
  values.forEach((value, index) => (out[order(index)] = value));
  return out;
}

function reordered(
  rows: Float32Array,
  cols: number,
  columns: (col: number) => number,
): Float32Array {
  const out = new Float32Array(rows.length);
  rows.forEach((value, i) => (out[i - (i % cols) + columns(i % cols)] = value));
  return out;
}

async function questions(
  model: Model,
  format: TensorSource["format"],
  has: (name: string) => boolean,
): Promise<Question[]> {
  const asked: Question[] = [];
  const weight = (rows: number, cols: number): Weight => ({ id: -1, dtype: "f32", rows, cols });
  const list = (from: MatrixParts): readonly MatrixPart[] =>
    typeof from === "string" ? [{ name: from }] : from;
  const loader: WeightLoader = {
    format,
    has,
    async matrix(from, rows, cols) {
      asked.push({ kind: "matrix", from: list(from), rows, cols });
      return weight(rows, cols);
    },
    async transposed(from, blocks, rows, cols, only) {
      if (only !== undefined)
        throw mismatch(model, `one of ${rows} taps of a convolution is read by itself`);
      asked.push({ kind: "transposed", from, rows: blocks * rows, rowsOfBlock: rows, cols });
      return weight(blocks * rows, cols);
    },
    async vector(from, rows, cols, map, order) {
      asked.push({
        kind: "vector",
        from,
        rows,
        cols,
        map: map ?? null,
        order: order ?? null,
      });
      return weight(rows, cols);
    },
    // Follows from the configuration: no file has it.
    constant: async (_, rows, cols) => weight(rows, cols),
  };
  await model.load(loader);
  return asked;
}

function mismatch(model: Model, reason: string): ConversionError {
  return new ConversionError(`"${model.modelType}" cannot be rewritten as GGUF: ${reason}.`, {
    modelType: model.modelType,
  });
}
