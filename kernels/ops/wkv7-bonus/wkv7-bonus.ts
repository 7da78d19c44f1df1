import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const wkv7BonusOp = {
  name: "wkv7-bonus",
  access: { x: "read", r: "read", k: "read", v: "read", g: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface Wkv7BonusOperands {
  /** (rows, nHead * V): what the state gave, normed. */
  readonly x: Tensor;
  /** (rows, nHead * K) */
  readonly r: Tensor;
  /** (rows, nHead * K): the replacement key k̃. */
  readonly k: Tensor;
  /** (rows, nHead * V) */
  readonly v: Tensor;
  /** (rows, nHead * V) */
  readonly g: Tensor;
  /** (1, nHead * K): ρ */
  readonly weight: Weight;
  readonly nHead: number;
  /** (rows, nHead * V) */
  readonly y: Tensor;
}

/**
 * y = (x + (r · (ρ ⊙ k̃)) v) ⊙ g, head by head: the present token's own value once more, and the output gate.
 * Source: RWKV-7 (arXiv:2503.14456) §4.1.
 */
export function wkv7Bonus(recorder: Recorder, operands: Omit<Wkv7BonusOperands, "y">): Tensor {
  const { x, r, k, v, g, weight, nHead } = operands;
  const { rows, cols } = x;
  if (!Number.isInteger(nHead) || nHead < 1 || r.cols % nHead !== 0 || cols % nHead !== 0) {
    throw new KernelError(
      "shape",
      `wkv7-bonus: ${nHead} heads do not divide ${r.cols} keys and ${cols} values`,
    );
  }
  expectShape("wkv7-bonus", "r", r, rows, r.cols);
  expectShape("wkv7-bonus", "k", k, rows, r.cols);
  expectShape("wkv7-bonus", "v", v, rows, cols);
  expectShape("wkv7-bonus", "g", g, rows, cols);
  expectShape("wkv7-bonus", "weight", weight, 1, r.cols);
  const y = recorder.temporary(rows, cols);
  recorder.record(wkv7BonusOp, { x, r, k, v, g, weight, nHead, y } satisfies Wkv7BonusOperands &
    Record<string, unknown>);
  return y;
}
