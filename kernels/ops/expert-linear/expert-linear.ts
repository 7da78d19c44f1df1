import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const expertLinearOp = {
  name: "expert-linear",
  access: { x: "read", experts: "read", weights: "read", residual: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface ExpertLinearOperands {
  /** (rows, K), the same for all experts of a row; or (rows, topK * K), one part for each. */
  readonly x: Tensor;
  /** (nExpert * R, K), packed: the experts' matrices one below the other. */
  readonly weight: Weight;
  /** (nExpert, R), or null for none. */
  readonly bias: Weight | null;
  readonly nExpert: number;
  /** (rows, topK): from `route`. A number outside 0 … nExpert − 1 is no expert: its product is 0. */
  readonly experts: Tensor;
  /** (rows, topK), or null: then the products stay apart. */
  readonly weights: Tensor | null;
  /** (rows, R), or null; only where `weights` is given. */
  readonly residual: Tensor | null;
  /** (rows, R) where `weights` is given, else (rows, topK * R). */
  readonly y: Tensor;
}

/**
 * Products with the matrices of each row's experts e_j: p_j = x_j W[e_j]ᵀ + bias[e_j]. Without `weights` y = (p_0, p_1, …);
 * with them y = residual + Σ_j weights_j p_j, added up in the order of j.
 * Source: Shazeer et al. 2017 (arXiv:1701.06538) eq. 1.
 */
export function expertLinear(
  k: Recorder,
  operands: {
    readonly x: Tensor;
    readonly weight: Weight;
    readonly nExpert: number;
    readonly experts: Tensor;
    readonly bias?: Weight | null;
    readonly weights?: Tensor | null;
    readonly residual?: Tensor | null;
  },
): Tensor {
  const { x, weight, nExpert, experts, bias = null, weights = null, residual = null } = operands;
  const topK = experts.cols;
  const K = weight.cols;
  if (weight.rows % nExpert !== 0 || (x.cols !== K && x.cols !== topK * K)) {
    throw new KernelError(
      "shape",
      `expert-linear: a weight of (${weight.rows}, ${K}) for ${nExpert} experts, ${topK} a row, does not fit ${x.cols} columns`,
    );
  }
  const R = weight.rows / nExpert;
  expectShape("expert-linear", "experts", experts, x.rows, topK);
  if (bias !== null) expectShape("expert-linear", "bias", bias, nExpert, R);
  if (weights !== null) expectShape("expert-linear", "weights", weights, x.rows, topK);
  if (residual !== null) expectShape("expert-linear", "residual", residual, x.rows, R);
  if (residual !== null && weights === null)
    throw new KernelError("shape", "expert-linear: a residual needs weights");
  const y = k.temporary(x.rows, weights === null ? topK * R : R);
  k.record(expertLinearOp, {
    x,
    weight,
    bias,
    nExpert,
    experts,
    weights,
    residual,
    y,
  } satisfies ExpertLinearOperands & Record<string, unknown>);
  return y;
}
