import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const gatedRmsNormOp = {
  name: "gated-rms-norm",
  access: { x: "read", z: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface GatedRmsNormOperands {
  /** (rows, dInner) */
  readonly x: Tensor;
  /** (rows, dInner) */
  readonly z: Tensor;
  /** (1, dInner) */
  readonly weight: Weight;
  readonly eps: number;
  /** Columns that share one mean: dInner (Hugging Face) or dInner / nGroup (the authors' code). */
  readonly groupSize: number;
  /** (rows, dInner) */
  readonly y: Tensor;
}

/**
 * g = x · silu(z); y = g / sqrt(mean over the group(g²) + eps) · weight.
 * Source: Mamba-2 (arXiv:2405.21060) §7.1; transformers `MambaRMSNormGated`.
 */
export function gatedRmsNorm(
  k: Recorder,
  { x, z, weight, eps, groupSize }: Omit<GatedRmsNormOperands, "y">,
): Tensor {
  expectShape("gated-rms-norm", "z", z, x.rows, x.cols);
  expectShape("gated-rms-norm", "weight", weight, 1, x.cols);
  if (groupSize < 1 || x.cols % groupSize !== 0) {
    throw new KernelError(
      "shape",
      `gated-rms-norm: groups of ${groupSize} do not divide ${x.cols} columns`,
    );
  }
  const y = k.temporary(x.rows, x.cols);
  k.record(gatedRmsNormOp, { x, z, weight, eps, groupSize, y } satisfies GatedRmsNormOperands &
    Record<string, unknown>);
  return y;
}
