import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const rgLruOp = {
  name: "rg-lru",
  access: { x: "read", recurrenceGate: "read", inputGate: "read", state: "update", y: "write" },
} as const satisfies OpDeclaration;

export interface RgLruOperands {
  /** (B * T, width), after the convolution. */
  readonly x: Tensor;
  /** r before its sigmoid, (B * T, width). */
  readonly recurrenceGate: Tensor;
  /** i before its sigmoid, (B * T, width). */
  readonly inputGate: Tensor;
  /** −c softplus(Λ), (1, width): log a where the recurrence gate is open. Never above 0. */
  readonly logDecay: Weight;
  /** h, (B, width). Read, then replaced. */
  readonly state: Tensor;
  /** T; the token in row b * T + t is at position `positions[b] + t`. */
  readonly length: number;
  /** (B * T, width) */
  readonly y: Tensor;
}

/**
 * The real-gated linear recurrent unit: log a[t] = logDecay ⊙ σ(r[t]); h[t] = a[t] ⊙ h[t−1] + √(1 − a[t]²) ⊙ σ(i[t]) ⊙ x[t];
 * y = h. At position 0 there is nothing to keep: h[0] = σ(i[0]) ⊙ x[0].
 * Source: Griffin (arXiv:2402.19427) §2.4, eq. 1–4.
 */
export function rgLru(k: Recorder, operands: Omit<RgLruOperands, "y" | "length">): Tensor {
  const { x, recurrenceGate, inputGate, logDecay, state } = operands;
  const rows = k.batch * k.length;
  const width = logDecay.cols;
  expectShape("rg-lru", "logDecay", logDecay, 1, width);
  expectShape("rg-lru", "x", x, rows, width);
  expectShape("rg-lru", "recurrenceGate", recurrenceGate, rows, width);
  expectShape("rg-lru", "inputGate", inputGate, rows, width);
  expectShape("rg-lru", "state", state, k.batch, width);
  const y = k.temporary(rows, width);
  k.record(rgLruOp, { ...operands, length: k.length, y } satisfies RgLruOperands &
    Record<string, unknown>);
  return y;
}
