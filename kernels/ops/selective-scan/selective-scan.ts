import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const selectiveScanOp = {
  name: "selective-scan",
  access: {
    x: "read",
    dtRaw: "read",
    B: "read",
    C: "read",
    z: "read",
    state: "update",
    y: "write",
  },
} as const satisfies OpDeclaration;

export interface SelectiveScanOperands {
  /** (B * T, dInner), after the convolution. */
  readonly x: Tensor;
  /** (B * T, dInner), before bias and softplus. */
  readonly dtRaw: Tensor;
  /** (1, dInner), or null. */
  readonly dtBias: Weight | null;
  readonly dtSoftplus: boolean;
  /** (dInner, dState), negative: A = −exp(ALog). */
  readonly A: Weight;
  /** (B * T, nGroup * dState); channel d belongs to group floor(d · nGroup / dInner). */
  readonly B: Tensor;
  /** (B * T, nGroup * dState) */
  readonly C: Tensor;
  /** (1, dInner), or null. */
  readonly D: Weight | null;
  /** (B * T, dInner), or null for no gate. */
  readonly z: Tensor | null;
  /** h, (B, dInner * dState). Read, then replaced. */
  readonly state: Tensor;
  readonly nGroup: number;
  /** T; 1 is the fused recurrent step of decode, more is the scan over chunks. */
  readonly length: number;
  /** (B * T, dInner) */
  readonly y: Tensor;
}

/**
 * dt = softplus(dtRaw + dtBias); h[t] = exp(dt A) ⊙ h[t−1] + dt B[t] x[t]; y[t] = (C[t] · h[t] + D x[t]) · silu(z[t]).
 * Source: Mamba (arXiv:2312.00752) algorithm 2.
 */
export function selectiveScan(
  k: Recorder,
  operands: Omit<SelectiveScanOperands, "y" | "length">,
): Tensor {
  const { x, dtRaw, dtBias, A, B, C, D, z, state, nGroup } = operands;
  const rows = k.batch * k.length;
  const dInner = A.rows;
  const dState = A.cols;
  if (nGroup < 1 || dInner % nGroup !== 0) {
    throw new KernelError(
      "shape",
      `selective-scan: ${nGroup} groups do not divide ${dInner} channels`,
    );
  }
  expectShape("selective-scan", "x", x, rows, dInner);
  expectShape("selective-scan", "dtRaw", dtRaw, rows, dInner);
  expectShape("selective-scan", "B", B, rows, nGroup * dState);
  expectShape("selective-scan", "C", C, rows, nGroup * dState);
  expectShape("selective-scan", "state", state, k.batch, dInner * dState);
  if (dtBias !== null) expectShape("selective-scan", "dtBias", dtBias, 1, dInner);
  if (D !== null) expectShape("selective-scan", "D", D, 1, dInner);
  if (z !== null) expectShape("selective-scan", "z", z, rows, dInner);
  const y = k.temporary(rows, dInner);
  k.record(selectiveScanOp, { ...operands, length: k.length, y } satisfies SelectiveScanOperands &
    Record<string, unknown>);
  return y;
}
