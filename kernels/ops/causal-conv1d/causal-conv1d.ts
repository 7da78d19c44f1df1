import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const causalConv1dOp = {
  name: "causal-conv1d",
  access: { x: "read", state: "update", y: "write" },
} as const satisfies OpDeclaration;

export interface CausalConv1dOperands {
  /** (B * T, channels) */
  readonly x: Tensor;
  /** (channels, dConv), oldest tap first. */
  readonly weight: Weight;
  /** (1, channels), or null. */
  readonly bias: Weight | null;
  /** (B, channels * (dConv - 1)): the last dConv - 1 inputs of each channel, oldest first. Read, then replaced. */
  readonly state: Tensor;
  readonly silu: boolean;
  /** T */
  readonly length: number;
  /** (B * T, channels) */
  readonly y: Tensor;
}

/** y[t, c] = act(bias[c] + Σ_k weight[c, k] · x[t − (dConv − 1) + k, c]). Source: Mamba (arXiv:2312.00752) §3.4. */
export function causalConv1d(
  k: Recorder,
  operands: Omit<CausalConv1dOperands, "y" | "length">,
): Tensor {
  const { x, weight, bias, state, silu } = operands;
  expectShape("causal-conv1d", "x", x, k.batch * k.length, weight.rows);
  expectShape("causal-conv1d", "state", state, k.batch, weight.rows * (weight.cols - 1));
  if (bias !== null) expectShape("causal-conv1d", "bias", bias, 1, weight.rows);
  const y = k.temporary(x.rows, x.cols);
  k.record(causalConv1dOp, {
    x,
    weight,
    bias,
    state,
    silu,
    length: k.length,
    y,
  } satisfies CausalConv1dOperands & Record<string, unknown>);
  return y;
}
