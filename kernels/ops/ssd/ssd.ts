import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const ssdOp = {
  name: "ssd",
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

export interface SsdOperands {
  /** (B * T, nHead * headDim), after the convolution. */
  readonly x: Tensor;
  /** (B * T, nHead), before bias and softplus. */
  readonly dtRaw: Tensor;
  /** (1, nHead), or null. */
  readonly dtBias: Weight | null;
  readonly dtSoftplus: boolean;
  /** dt is clamped to these after softplus; 0 and Infinity for none. */
  readonly dtMin: number;
  readonly dtMax: number;
  /** (1, nHead), negative. */
  readonly A: Weight;
  /** (B * T, nGroup * dState); head p belongs to group floor(p · nGroup / nHead). */
  readonly B: Tensor;
  /** (B * T, nGroup * dState) */
  readonly C: Tensor;
  /** (1, nHead), or null. */
  readonly D: Weight | null;
  /** (B * T, nHead * headDim), or null: gates after D. */
  readonly z: Tensor | null;
  /** h, (B, nHead * headDim * dState). Read, then replaced. */
  readonly state: Tensor;
  readonly nGroup: number;
  /** Q: the sequence is cut into pieces of Q tokens that are computed as matrix products. */
  readonly chunkSize: number;
  /** T; 1 is the fused recurrent step of decode. */
  readonly length: number;
  /** (B * T, nHead * headDim) */
  readonly y: Tensor;
}

/**
 * Per head: h[t] = exp(dt A) h[t−1] + dt x[t] ⊗ B[t]; y[t] = h[t] C[t] + D x[t]; y · silu(z) if z is given.
 * Source: Mamba-2 (arXiv:2405.21060) §6, listing 1.
 */
export function ssd(k: Recorder, operands: Omit<SsdOperands, "y" | "length">): Tensor {
  const { x, dtRaw, dtBias, A, B, C, D, z, state, nGroup, chunkSize } = operands;
  const rows = k.batch * k.length;
  const nHead = A.cols;
  const dState = B.cols / nGroup;
  if (
    nGroup < 1 ||
    nHead % nGroup !== 0 ||
    x.cols % nHead !== 0 ||
    !Number.isInteger(dState) ||
    chunkSize < 1
  ) {
    throw new KernelError(
      "shape",
      `ssd: ${x.cols} channels, ${nHead} heads, ${nGroup} groups, chunks of ${chunkSize} do not fit`,
    );
  }
  expectShape("ssd", "x", x, rows, x.cols);
  expectShape("ssd", "dtRaw", dtRaw, rows, nHead);
  expectShape("ssd", "B", B, rows, nGroup * dState);
  expectShape("ssd", "C", C, rows, nGroup * dState);
  expectShape("ssd", "state", state, k.batch, x.cols * dState);
  if (dtBias !== null) expectShape("ssd", "dtBias", dtBias, 1, nHead);
  if (D !== null) expectShape("ssd", "D", D, 1, nHead);
  if (z !== null) expectShape("ssd", "z", z, rows, x.cols);
  const y = k.temporary(rows, x.cols);
  k.record(ssdOp, { ...operands, length: k.length, y } satisfies SsdOperands &
    Record<string, unknown>);
  return y;
}
