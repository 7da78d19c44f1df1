import type { Activation } from "../../spec/activations.ts";
import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const gateOp = {
  name: "gate",
  access: { a: "read", b: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface GateOperands {
  /** (rows, cols / repeat): each of its columns gates `repeat` neighbouring ones of b. */
  readonly a: Tensor;
  /** (rows, cols) */
  readonly b: Tensor;
  readonly act: Activation;
  readonly repeat: number;
  /** (rows, cols) */
  readonly y: Tensor;
}

/**
 * y[t, i] = act(a[t, ⌊i / repeat⌋]) · b[t, i]; `repeat` follows from the widths. GLU and its kin, output gates, products.
 * Source: Shazeer 2020 (arXiv:2002.05202).
 * @param into where to write, by default a new temporary
 */
export function gate(
  k: Recorder,
  operands: {
    readonly a: Tensor;
    readonly b: Tensor;
    readonly act: Activation;
    readonly into?: Tensor;
  },
): Tensor {
  const { a, b, act, into } = operands;
  if (a.rows !== b.rows || b.cols % a.cols !== 0) {
    throw new KernelError(
      "shape",
      `gate: a is (${a.rows}, ${a.cols}) and cannot gate (${b.rows}, ${b.cols})`,
    );
  }
  const y = into ?? k.temporary(b.rows, b.cols);
  expectShape("gate", "y", y, b.rows, b.cols);
  k.record(gateOp, { a, b, act, repeat: b.cols / a.cols, y } satisfies GateOperands &
    Record<string, unknown>);
  return y;
}
