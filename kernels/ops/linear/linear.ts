import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const linearOp = {
  name: "linear",
  access: { x: "read", residual: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface LinearOperands {
  /** (rows, K) */
  readonly x: Tensor;
  /** (R, K), packed. */
  readonly weight: Weight;
  /** (1, R), or null. */
  readonly bias: Weight | null;
  /** (rows, R), or null. */
  readonly residual: Tensor | null;
  /** (rows, R) */
  readonly y: Tensor;
}

/**
 * y = x Wᵀ + bias + residual.
 * A backend may round x to 8 or 16 bits in blocks of 32 when W lies in blocks (it then says so in `DeviceInfo.features`:
 * "int8-activations", "int16-activations").
 * @param into where to write, by default a new temporary
 */
export function linear(
  k: Recorder,
  x: Tensor,
  weight: Weight,
  options: {
    readonly bias?: Weight | null;
    readonly residual?: Tensor | null;
    readonly into?: Tensor;
  } = {},
): Tensor {
  const { bias = null, residual = null, into } = options;
  expectShape("linear", "weight", weight, weight.rows, x.cols);
  if (bias !== null) expectShape("linear", "bias", bias, 1, weight.rows);
  if (residual !== null) expectShape("linear", "residual", residual, x.rows, weight.rows);
  const y = into ?? k.temporary(x.rows, weight.rows);
  expectShape("linear", "y", y, x.rows, weight.rows);
  k.record(linearOp, { x, weight, bias, residual, y } satisfies LinearOperands &
    Record<string, unknown>);
  return y;
}
