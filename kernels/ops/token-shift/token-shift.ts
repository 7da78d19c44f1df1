import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const tokenShiftOp = {
  name: "token-shift",
  access: { x: "read", state: "update", y: "write" },
} as const satisfies OpDeclaration;

export interface TokenShiftOperands {
  /** (B * T, channels) */
  readonly x: Tensor;
  /** (n, channels): how much of the token before each of n mixtures takes, channel by channel. */
  readonly mix: Weight;
  /** (B, channels): the last input of each sequence. Read, then replaced. */
  readonly state: Tensor;
  /** T */
  readonly length: number;
  /** (B * T, n * channels) */
  readonly y: Tensor;
}

/**
 * y_j[t] = x[t] + mix_j ⊙ (x[t − 1] − x[t]): n interpolations between a token and the one before it, which for the first
 * token is the state. Source: RWKV (arXiv:2305.13048) §3.1; RWKV-7 (arXiv:2503.14456) §4.1.
 * @returns y_1 … y_n side by side, (B * T, n * channels)
 */
export function tokenShift(
  k: Recorder,
  operands: Omit<TokenShiftOperands, "y" | "length">,
): Tensor {
  const { x, mix, state } = operands;
  expectShape("token-shift", "x", x, k.batch * k.length, mix.cols);
  expectShape("token-shift", "state", state, k.batch, mix.cols);
  const y = k.temporary(x.rows, mix.rows * mix.cols);
  k.record(tokenShiftOp, { x, mix, state, length: k.length, y } satisfies TokenShiftOperands &
    Record<string, unknown>);
  return y;
}
