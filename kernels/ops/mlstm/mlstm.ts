import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { StateSlot, Tensor } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const mlstmOp = {
  name: "mlstm",
  access: {
    q: "read",
    k: "read",
    v: "read",
    inputGate: "read",
    forgetGate: "read",
    state: "update",
    y: "write",
  },
} as const satisfies OpDeclaration;

export interface MlstmOperands {
  /** (B * T, nHead * headDimK) */
  readonly q: Tensor;
  /** (B * T, nHead * headDimK) */
  readonly k: Tensor;
  /** (B * T, nHead * headDimV) */
  readonly v: Tensor;
  /** ĩ, the logarithm of the input gate, (B * T, nHead). */
  readonly inputGate: Tensor;
  /** f̃, the forget gate before its sigmoid, (B * T, nHead). */
  readonly forgetGate: Tensor;
  /** (B, nHead * headState): see `mlstmSlot`. Read, then replaced. */
  readonly state: Tensor;
  readonly nHead: number;
  /** Added to the denominator. */
  readonly eps: number;
  /** T */
  readonly length: number;
  /** (B * T, nHead * headDimV) */
  readonly y: Tensor;
}

/**
 * The slot that `mlstm` needs. For each head C (headDimK, headDimV), the memory; n (headDimK), its normaliser; and m, the
 * exponent that both were divided by: the true memory is exp(m) C.
 */
export function mlstmSlot(
  name: string,
  shape: { readonly nHead: number; readonly headDimK: number; readonly headDimV: number },
): StateSlot {
  return { name, shape: [shape.nHead, shape.headDimK * (shape.headDimV + 1) + 1] };
}

/**
 * The matrix memory of xLSTM, stabilised, for each head: m[t] = max(log σ(f̃) + m[t−1], ĩ); f = exp(log σ(f̃) + m[t−1] − m[t]);
 * i = exp(ĩ − m[t]); C[t] = f C[t−1] + i k ⊗ v; n[t] = f n[t−1] + i k;
 * y[t] = Cᵀ q / (max(|n · q|, exp(−m[t])) + eps), q divided by √headDimK.
 * Source: Beck et al. 2024 (arXiv:2405.04517) eq. 19–27; with log σ as the forget gate and eps Beck et al. 2025
 * (arXiv:2503.13427) §3.
 */
export function mlstm(k: Recorder, operands: Omit<MlstmOperands, "y" | "length">): Tensor {
  const { q, v, inputGate, forgetGate, state, nHead } = operands;
  const rows = k.batch * k.length;
  if (!Number.isInteger(nHead) || nHead < 1 || q.cols % nHead !== 0 || v.cols % nHead !== 0) {
    throw new KernelError(
      "shape",
      `mlstm: ${nHead} heads do not divide ${q.cols} query and ${v.cols} value columns`,
    );
  }
  const headState = (q.cols / nHead) * (v.cols / nHead + 1) + 1;
  expectShape("mlstm", "q", q, rows, q.cols);
  expectShape("mlstm", "k", operands.k, rows, q.cols);
  expectShape("mlstm", "v", v, rows, v.cols);
  expectShape("mlstm", "inputGate", inputGate, rows, nHead);
  expectShape("mlstm", "forgetGate", forgetGate, rows, nHead);
  expectShape("mlstm", "state", state, k.batch, nHead * headState);
  const y = k.temporary(rows, v.cols);
  k.record(mlstmOp, { ...operands, length: k.length, y } satisfies MlstmOperands &
    Record<string, unknown>);
  return y;
}
