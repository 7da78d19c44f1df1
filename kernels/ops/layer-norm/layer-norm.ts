import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const layerNormOp = {
  name: "layer-norm",
  access: { x: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface LayerNormOperands {
  /** (rows, cols) */
  readonly x: Tensor;
  /** (1, cols), or null for none. */
  readonly weight: Weight | null;
  /** (1, cols), or null for none. */
  readonly bias: Weight | null;
  readonly eps: number;
  /** Columns that share mean and variance: cols, or a head's (group norm). */
  readonly groupSize: number;
  /** (rows, cols) */
  readonly y: Tensor;
}

/**
 * y = (x − mean) / sqrt(variance + eps) · weight + bias, mean and variance over each group of columns.
 * Source: Ba et al. 2016 (arXiv:1607.06450); by groups Wu & He 2018 (arXiv:1803.08494).
 */
export function layerNorm(
  k: Recorder,
  operands: Omit<LayerNormOperands, "y" | "groupSize"> & { readonly groupSize?: number },
): Tensor {
  const { x, weight, bias, eps, groupSize = x.cols } = operands;
  if (!Number.isInteger(groupSize) || groupSize < 1 || x.cols % groupSize !== 0) {
    throw new KernelError(
      "shape",
      `layer-norm: groups of ${groupSize} do not divide ${x.cols} columns`,
    );
  }
  if (weight !== null) expectShape("layer-norm", "weight", weight, 1, x.cols);
  if (bias !== null) expectShape("layer-norm", "bias", bias, 1, x.cols);
  const y = k.temporary(x.rows, x.cols);
  k.record(layerNormOp, { x, weight, bias, eps, groupSize, y } satisfies LayerNormOperands &
    Record<string, unknown>);
  return y;
}
