import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const rmsNormOp = {
  name: "rms-norm",
  access: { x: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface RmsNormOperands {
  /** (rows, dModel) */
  readonly x: Tensor;
  /** (1, dModel) */
  readonly weight: Weight;
  readonly eps: number;
  /** (rows, dModel) */
  readonly y: Tensor;
}

/** y[t, i] = x[t, i] / sqrt(mean_i(x[t, i]²) + eps) · weight[i]. Source: Zhang & Sennrich 2019 (arXiv:1910.07467). */
export function rmsNorm(k: Recorder, { x, weight, eps }: Omit<RmsNormOperands, "y">): Tensor {
  expectShape("rms-norm", "weight", weight, 1, x.cols);
  const y = k.temporary(x.rows, x.cols);
  k.record(rmsNormOp, { x, weight, eps, y } satisfies RmsNormOperands & Record<string, unknown>);
  return y;
}
