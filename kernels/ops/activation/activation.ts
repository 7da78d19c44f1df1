import type { Activation } from "../../spec/activations.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const activationOp = {
  name: "activation",
  access: { x: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface ActivationOperands {
  /** (rows, cols) */
  readonly x: Tensor;
  readonly act: Activation;
  /** Multiplies x, before the bias. */
  readonly scale: number;
  /** (1, cols), or null for none. */
  readonly bias: Weight | null;
  /** Multiplies the function's value. */
  readonly gain: number;
  /** (rows, cols) */
  readonly y: Tensor;
}

/**
 * y = gain · act(scale · x + bias). A soft cap c is tanh with scale 1 / c and gain c.
 * @param into where to write, by default a new temporary
 */
export function activation(
  k: Recorder,
  x: Tensor,
  act: Activation,
  options: {
    readonly scale?: number;
    readonly bias?: Weight | null;
    readonly gain?: number;
    readonly into?: Tensor;
  } = {},
): Tensor {
  const { scale = 1, bias = null, gain = 1, into } = options;
  if (bias !== null) expectShape("activation", "bias", bias, 1, x.cols);
  const y = into ?? k.temporary(x.rows, x.cols);
  expectShape("activation", "y", y, x.rows, x.cols);
  k.record(activationOp, { x, act, scale, bias, gain, y } satisfies ActivationOperands &
    Record<string, unknown>);
  return y;
}
