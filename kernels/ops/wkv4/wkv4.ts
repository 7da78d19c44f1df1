import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const wkv4Op = {
  name: "wkv4",
  access: { k: "read", v: "read", state: "update", y: "write" },
} as const satisfies OpDeclaration;

export interface Wkv4Operands {
  /** (B * T, channels) */
  readonly k: Tensor;
  /** (B * T, channels) */
  readonly v: Tensor;
  /** (1, channels), negative: the logarithm of what is left of the past after a token. */
  readonly decay: Weight;
  /** (1, channels): u, added to the key of the present token. */
  readonly bonus: Weight;
  /**
   * (B, 3 * channels): numerators, denominators, and the largest exponent, which both are divided by the exponential of.
   * A denominator of 0 stands before the first token, whatever the exponent. Read, then replaced.
   */
  readonly state: Tensor;
  /** T */
  readonly length: number;
  /** (B * T, channels) */
  readonly y: Tensor;
}

/**
 * y[t] = (Σ_{i<t} exp((t − 1 − i) decay + k[i]) v[i] + exp(u + k[t]) v[t]) / (the same sum without v), channel by channel.
 * Source: RWKV (arXiv:2305.13048) §3.1; in the form that does not overflow appendix D.
 */
export function wkv4(r: Recorder, operands: Omit<Wkv4Operands, "y" | "length">): Tensor {
  const { k, v, decay, bonus, state } = operands;
  const { cols } = k;
  expectShape("wkv4", "k", k, r.batch * r.length, cols);
  expectShape("wkv4", "v", v, k.rows, cols);
  expectShape("wkv4", "decay", decay, 1, cols);
  expectShape("wkv4", "bonus", bonus, 1, cols);
  expectShape("wkv4", "state", state, r.batch, 3 * cols);
  const y = r.temporary(k.rows, cols);
  r.record(wkv4Op, { k, v, decay, bonus, state, length: r.length, y } satisfies Wkv4Operands &
    Record<string, unknown>);
  return y;
}
