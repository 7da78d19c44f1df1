import type { Operands } from "./op.ts";
import type { Weight } from "./tensor.ts";

/** The values of a recurrence's operands over T tokens of one sequence: each (T, cols), by the operand's name. */
export type OperandValues = Readonly<Record<string, Float32Array>>;

/** Norms of what T tokens wrote into a state, and of what the state still holds of it. Both (T). */
export interface Held {
  readonly written: Float64Array;
  readonly held: Float64Array;
}

/**
 * How long one recurrence remembers. Tokens are visited from the last one back: what stands behind a token is the product
 * of all later transitions, so that one pass over a sequence of any length is enough.
 *
 * A state is linear in what was written into it: S[T] = Σ_j Φ(T, j) W_j, with the write W_j of token j and the product
 * Φ(T, j) of the transitions behind it. What is held of a token is the norm of its term.
 */
export interface Retention {
  /** Values of a token that going back needs. */
  readonly width: number;
  /**
   * (T, width) out of the operands: a fraction of them, so that many tokens may wait for the way back.
   * @param position of the first of the T tokens in its sequence
   */
  reduce(values: OperandValues, length: number, position: number): Float32Array;
  /** Visits the T tokens of `rows`, last one first; the next call's tokens stand before them. */
  back(rows: Float32Array, length: number): Held;
}

/** The values of a weight that elementwise kernels read, (rows · cols). */
export type VectorValues = (weight: Weight) => Float32Array;

/** Makes the retention of one recurrence out of its operands, as they were recorded. */
export interface RetentionRule {
  /** The operands that must be brought out of a run. */
  readonly traced: readonly string[];
  /** The operands that are weights. */
  readonly weights: readonly string[];
  create(operands: Operands, vector: VectorValues): Retention;
}

/** The operand as a number. @throws TypeError if it is none: the rule and the op do not fit */
export function numberOperand(operands: Operands, name: string): number {
  const value = operands[name];
  if (typeof value !== "number") throw new TypeError(`operand "${name}" is no number`);
  return value;
}

/** The operand's columns. @throws TypeError if it is neither a tensor nor a weight */
export function columnsOf(operands: Operands, name: string): number {
  const value = operands[name];
  if (typeof value !== "object" || value === null)
    throw new TypeError(`operand "${name}" has no columns`);
  return value.cols;
}

/** The values of an operand that is a weight; null where the option is off. @throws TypeError if it is something else */
export function vectorOperand(
  operands: Operands,
  name: string,
  vector: VectorValues,
): Float32Array | null {
  const value = operands[name];
  if (value === null) return null;
  if (typeof value !== "object" || !("dtype" in value))
    throw new TypeError(`operand "${name}" is no weight`);
  return vector(value);
}

/** As `vectorOperand`, where it cannot be off. @throws TypeError */
export function requiredVector(
  operands: Operands,
  name: string,
  vector: VectorValues,
): Float32Array {
  const values = vectorOperand(operands, name, vector);
  if (values === null) throw new TypeError(`operand "${name}" is off`);
  return values;
}

/** The Euclidean norm of `count` values from `from` on. */
export function norm(values: ArrayLike<number>, from: number, count: number): number {
  let sum = 0;
  for (let i = from; i < from + count; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}
