import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const scaledAddOp = {
  name: "scaled-add",
  access: { a: "read", b: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface ScaledAddOperands {
  /** (rows, cols) */
  readonly a: Tensor;
  /** What a is multiplied by: a number, or (1, cols). */
  readonly aScale: number | Weight;
  /** (rows, cols), or null for none. */
  readonly b: Tensor | null;
  /** What b is multiplied by: a number, or (1, cols). */
  readonly bScale: number | Weight;
  /** (1, cols), or null for none. */
  readonly bias: Weight | null;
  /** (rows, cols) */
  readonly y: Tensor;
}

/**
 * y = aScale ⊙ a + bScale ⊙ b + bias: residuals with multipliers, interpolations between a token and the one before it,
 * copies into a part of a wider tensor.
 * @param into where to write, by default a new temporary
 */
export function scaledAdd(
  k: Recorder,
  operands: {
    readonly a: Tensor;
    readonly aScale?: number | Weight;
    readonly b?: Tensor | null;
    readonly bScale?: number | Weight;
    readonly bias?: Weight | null;
    readonly into?: Tensor;
  },
): Tensor {
  const { a, aScale = 1, b = null, bScale = 1, bias = null, into } = operands;
  const { rows, cols } = a;
  if (b !== null) expectShape("scaled-add", "b", b, rows, cols);
  if (typeof aScale === "object") expectShape("scaled-add", "aScale", aScale, 1, cols);
  if (typeof bScale === "object") expectShape("scaled-add", "bScale", bScale, 1, cols);
  if (bias !== null) expectShape("scaled-add", "bias", bias, 1, cols);
  const y = into ?? k.temporary(rows, cols);
  expectShape("scaled-add", "y", y, rows, cols);
  k.record(scaledAddOp, { a, aScale, b, bScale, bias, y } satisfies ScaledAddOperands &
    Record<string, unknown>);
  return y;
}
