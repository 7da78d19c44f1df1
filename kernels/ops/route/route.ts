import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const routeOp = {
  name: "route",
  access: { scores: "read", experts: "write", weights: "write" },
} as const satisfies OpDeclaration;

export interface RouteOperands {
  /** (rows, nExpert): the router's output. */
  readonly scores: Tensor;
  /**
   * - `softmax`: probabilities of all experts, then the choice.
   * - `sigmoid`: each by itself, then the choice.
   * - `softmax-of-chosen`: the choice by raw scores, then probabilities among the chosen.
   * - `raw`: the scores are the weights (an architecture's own router made them).
   */
  readonly scoring: "softmax" | "sigmoid" | "softmax-of-chosen" | "raw";
  /** (1, nExpert): added for the choice only; null for none. */
  readonly choiceBias: Weight | null;
  /** Experts are chosen from the `topKGroup` of `nGroup` groups with the largest sum of their two best; 1 of 1 for no groups. */
  readonly nGroup: number;
  readonly topKGroup: number;
  /** Experts for each row. */
  readonly topK: number;
  /** Weights of a row are divided by their sum (plus 1e-20, as the routers that do so have it). */
  readonly normalise: boolean;
  /** Multiplies the weights at the end. */
  readonly scale: number;
  /** (rows, topK): numbers of experts as f32, best first; of equal ones the lower number first. */
  readonly experts: Tensor;
  /** (rows, topK) */
  readonly weights: Tensor;
}

/** What `expert-linear` needs to know of each row. */
export interface Routing {
  /** (rows, topK) */
  readonly experts: Tensor;
  /** (rows, topK) */
  readonly weights: Tensor;
}

/**
 * Chooses experts. Source: Shazeer et al. 2017 (arXiv:1701.06538) §2.1; groups and bias DeepSeek-V3 (arXiv:2412.19437) §2.1.2.
 */
export function route(
  k: Recorder,
  operands: {
    readonly scores: Tensor;
    readonly scoring: RouteOperands["scoring"];
    readonly topK: number;
    readonly choiceBias?: Weight | null;
    readonly nGroup?: number;
    readonly topKGroup?: number;
    readonly normalise?: boolean;
    readonly scale?: number;
  },
): Routing {
  const { scores, scoring, topK, choiceBias = null, nGroup = 1, topKGroup = 1 } = operands;
  const { normalise = false, scale = 1 } = operands;
  const nExpert = scores.cols;
  if (nGroup < 1 || nExpert % nGroup !== 0 || topKGroup < 1 || topKGroup > nGroup) {
    throw new KernelError(
      "shape",
      `route: ${topKGroup} of ${nGroup} groups do not fit ${nExpert} experts`,
    );
  }
  if (topK < 1 || topK > (nExpert / nGroup) * topKGroup) {
    throw new KernelError(
      "shape",
      `route: ${topK} experts a row of ${(nExpert / nGroup) * topKGroup}`,
    );
  }
  if (choiceBias !== null) expectShape("route", "choiceBias", choiceBias, 1, nExpert);
  const experts = k.temporary(scores.rows, topK);
  const weights = k.temporary(scores.rows, topK);
  k.record(routeOp, {
    scores,
    scoring,
    choiceBias,
    nGroup,
    topKGroup,
    topK,
    normalise,
    scale,
    experts,
    weights,
  } satisfies RouteOperands & Record<string, unknown>);
  return { experts, weights };
}
