import type { WeightDType } from "./dtype.ts";

/** A buffer of f32 values that a plan names; what stands behind it is the backend's affair. */
export interface BufferRef {
  /**
   * - `temporary`: lives inside one run; the recorder reuses its memory (see kernels/plan).
   * - `output`: readable after a run, in the order of `Plan.outputs`.
   * - `state`: one array of the `StateBuffers` given to a run, `index` into the `StateLayout`; (B, size) values. Of a slot
   *   that grows, only ops that know of it may touch it: one row a token, at places that the backend chooses.
   * - `input`: the token ids of a run, (B, T) i32. Only `embedding` reads it.
   */
  readonly kind: "temporary" | "output" | "state" | "input";
  readonly index: number;
}

/**
 * A rectangle of f32 values in a buffer: element (r, c) is at `offset + r * stride + c` (in values, not bytes).
 * Sequences lie one after the other: row `b * T + t`. Splitting columns, or taking every last row, is a view, never a copy.
 */
export interface Tensor {
  readonly buffer: BufferRef;
  readonly offset: number;
  readonly rows: number;
  readonly cols: number;
  /** Values from one row to the next; `>= cols`. */
  readonly stride: number;
}

/** A packed matrix (rows, cols) on a backend. `y = x Wᵀ`: rows are outputs, cols are inputs. Vectors are one row. */
export interface Weight {
  readonly id: number;
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly cols: number;
}

/** What a weight will be, before its bytes are there. */
export interface WeightSpec {
  /** The tensor's name, for errors. */
  readonly name: string;
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly cols: number;
  /**
   * `matrix`: multiplied by `linear` or looked up by `embedding`; stays packed in its dtype.
   * `vector`: a small table (norms, biases, A, D, conv weights) that elementwise kernels read; must be f32.
   */
  readonly use: "matrix" | "vector";
}

/** Gives packed rows `firstRow … firstRow + rowCount - 1` of a weight; the caller owns the result. */
export type ReadRows = (firstRow: number, rowCount: number) => Promise<Uint8Array>;

/** One array of a model's recurrent state, for one sequence. */
export interface StateSlot {
  /** For example "layers.0.conv" or "layers.0.ssm". */
  readonly name: string;
  /**
   * Slowest first, without the batch: conv (channels, dConv - 1); Mamba-1 ssm (dInner, dState); Mamba-2 ssm (nHead, headDim, dState).
   * Of a slot that grows, the shape of one token's part: keys (nKvHead, headDim).
   */
  readonly shape: readonly number[];
  /** True for attention's keys and values: a part of `shape` for each token that was fed, in order. False if left out. */
  readonly grows?: boolean;
  /** How a slot that grows is kept; f32 if left out. Values are rounded once, when they are written. */
  readonly dtype?: "f32" | "f16";
}
export type StateLayout = readonly StateSlot[];

/** Values in one sequence's share of a slot; of a slot that grows, in one token's part. */
export function slotSize(slot: StateSlot): number {
  return slot.shape.reduce((product, side) => product * side, 1);
}
