import type { Tensor, Weight } from "./tensor.ts";

/**
 * What a reference implementation sees of a backend's memory: every operand as an array of rows, so that the code
 * reads `x[t][i]`. Rows of tensors are views: writing to them writes the tensor. Sums are made in JavaScript numbers
 * (f64) and rounded once, when they are stored into an f32 row.
 */
export interface ReferenceMemory {
  /** The token ids of the run, (B * T). */
  ids(ids: Tensor): Int32Array;
  /** (B): tokens that each sequence was fed before this run. */
  readonly positions: Int32Array;
  /** Rows of a tensor, `rows` views of `cols` values each. */
  rows(x: Tensor): readonly Float32Array[];
  /**
   * The rows of one sequence in a slot that grows, `cols` values each: those of earlier tokens, then room for the run's T.
   * Write each row with `store`, which rounds to the slot's dtype.
   */
  grown(slot: Tensor, sequence: number): GrownRows;
  /** Row `row` of a weight as f32, (cols); valid until the next call for the same weight. */
  weightRow(weight: Weight, row: number): Float32Array;
}

/** Rows of a slot that grows. */
export interface GrownRows {
  /** (position + T) rows. */
  readonly rows: readonly ArrayLike<number>[];
  /** Writes row `token`. */
  store(token: number, values: Float32Array): void;
}

/** Runs one recorded call on f32 arrays: the judge of every other implementation. */
export type ReferenceOp<Operands> = (memory: ReferenceMemory, operands: Operands) => void;
