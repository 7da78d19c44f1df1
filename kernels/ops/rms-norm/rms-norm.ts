import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";

export const rmsNormOp = {
  name: "rms-norm",
  access: { x: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface RmsNormOperands {
  /** (rows, cols) */
  readonly x: Tensor;
  /** (1, cols), or (1, groupSize) for one weight that all groups share, or null for none. */
  readonly weight: Weight | null;
  readonly eps: number;
  /** Columns that share one mean; cols, or a head's. */
  readonly groupSize: number;
  /** What the squares are divided by before `eps` is added: their number, or nothing (an L2 norm). */
  readonly over: "mean" | "sum";
  /** (rows, cols) */
  readonly y: Tensor;
}

/**
 * y[t, i] = x[t, i] / sqrt(mean over i's group(x[t]²) + eps) · weight[i].
 * Source: Zhang & Sennrich 2019 (arXiv:1910.07467). With `over: "sum"` the L2 norm of the delta rules' queries and keys.
 */
export function rmsNorm(
  k: Recorder,
  operands: {
    readonly x: Tensor;
    readonly weight: Weight | null;
    readonly eps: number;
    readonly groupSize?: number;
    readonly over?: "mean" | "sum";
  },
): Tensor {
  const { x, weight, eps, groupSize = x.cols, over = "mean" } = operands;
  if (!Number.isInteger(groupSize) || groupSize < 1 || x.cols % groupSize !== 0) {
    throw new KernelError(
      "shape",
      `rms-norm: groups of ${groupSize} do not divide ${x.cols} columns`,
    );
  }
  if (weight !== null && (weight.rows !== 1 || ![x.cols, groupSize].includes(weight.cols))) {
    throw new KernelError(
      "shape",
      `rms-norm: weight is (${weight.rows}, ${weight.cols}), expected (1, ${x.cols}) or (1, ${groupSize})`,
    );
  }
  const y = k.temporary(x.rows, x.cols);
  k.record(rmsNormOp, { x, weight, eps, groupSize, over, y } satisfies RmsNormOperands &
    Record<string, unknown>);
  return y;
}
