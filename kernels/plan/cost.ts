import { packedRowBytes } from "../spec/dtype.ts";
import type { OpCall, Operand } from "../spec/op.ts";
import type { Tensor, Weight } from "../spec/tensor.ts";
import { isTensor } from "./recorder.ts";

/** What a call must cost at least, whatever the backend. */
export interface CallCost {
  /** Every operand once: packed weights, tensors, states read and written. Of slots that grow only the run's own rows. */
  readonly bytes: number;
  /** Of products with matrices and of recurrences; elementwise work counts as nothing. */
  readonly flop: number;
}

/** Multiplications and additions for each value of the state and token. */
const RECURRENCE_FLOP: Readonly<Record<string, number>> = {
  // Decay, dt x B, C h.
  "selective-scan": 6,
  "fused-selective-scan": 6,
  ssd: 6,
  "mamba3-scan": 8,
  "gated-delta": 8,
  "rg-lru": 4,
  mlstm: 6,
  wkv4: 8,
  wkv7: 8,
};

/** Bytes and FLOP of one call of a plan. */
export function costOf({ op, operands }: OpCall): CallCost {
  const values = Object.values(operands);
  const rows = rowsOf(operands["y"]);
  const used = (weight: Weight): number => weightShare(op, operands, weight);
  const weights = values.filter((operand) => isWeight(operand));
  const bytes =
    values.filter((operand) => isTensor(operand)).reduce((sum, x) => sum + tensorBytes(x), 0) +
    weights.reduce((sum, w) => sum + used(w) * w.rows * packedRowBytes(w.dtype, w.cols), 0);
  return { bytes, flop: productFlop(op, operands, rows) + recurrenceFlop(op, operands) };
}

/** Part of a weight's rows that a call reads. */
function weightShare(op: string, operands: OpCall["operands"], weight: Weight): number {
  if (op === "embedding") return Math.min(1, rowsOf(operands["y"]) / weight.rows);
  const { nExpert, experts } = operands;
  if (typeof nExpert === "number" && isTensor(experts))
    return Math.min(1, (experts.rows * experts.cols) / nExpert);
  return 1;
}

function productFlop(op: string, operands: OpCall["operands"], rows: number): number {
  const { weight, nExpert, experts } = operands;
  if (!isWeight(weight)) return 0;
  const { rows: R, cols: K } = weight;
  if (op === "linear" || op === "fused-linear" || op === "block-linear") return 2 * rows * R * K;
  if (op === "expert-linear" && typeof nExpert === "number" && isTensor(experts))
    return (2 * experts.rows * experts.cols * R * K) / nExpert;
  return 0;
}

function recurrenceFlop(op: string, operands: OpCall["operands"]): number {
  const { state, length } = operands;
  if (!isTensor(state)) return 0;
  const tokens = typeof length === "number" ? length : 1;
  return (RECURRENCE_FLOP[op] ?? 0) * tokens * state.rows * state.cols;
}

function tensorBytes({ buffer, rows, cols }: Tensor): number {
  return rows * cols * 4 * (buffer.kind === "state" ? 2 : 1);
}

function rowsOf(operand: Operand | undefined): number {
  return isTensor(operand) ? operand.rows : 0;
}

/** Whether an operand is a weight. */
export function isWeight(operand: Operand | undefined): operand is Weight {
  return typeof operand === "object" && operand !== null && "dtype" in operand;
}
