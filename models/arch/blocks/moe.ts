/** A mixture of experts: each token goes to the `topK` of `nExpert` MLPs that its router chooses. Source: Shazeer et al.
 * 2017 (arXiv:1701.06538) §2. */
import { activation } from "../../../kernels/ops/activation/activation.ts";
import { expertLinear } from "../../../kernels/ops/expert-linear/expert-linear.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { route, type RouteOperands } from "../../../kernels/ops/route/route.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { requireGeometry } from "../architecture.ts";
import type { MatrixPart, MatrixParts } from "../matrix-parts.ts";
import type { WeightLoader } from "../weight-loader.ts";

export interface MoeShape {
  /** Columns of the router's input. */
  readonly dModel: number;
  /** Columns of the experts' input and output: dModel, or fewer where they work on a projection. */
  readonly dExpert: number;
  /** Columns within an expert. */
  readonly dFf: number;
  readonly nExpert: number;
  readonly topK: number;
  readonly scoring: RouteOperands["scoring"];
  /** The router has a bias for the choice. */
  readonly choiceBias: boolean;
  readonly nGroup: number;
  readonly topKGroup: number;
  readonly normalise: boolean;
  /** Multiplies the experts' weights. */
  readonly scale: number;
  readonly act: Activation;
  /** True: act(x Wgate) ⊙ (x Wup); false: act(x Wup). */
  readonly gated: boolean;
}

export interface MoeWeights {
  readonly router: Weight; //           (nExpert, dModel)
  readonly choiceBias: Weight | null; //(1, nExpert)
  readonly gate: Weight | null; //      (nExpert * dFf, dExpert)
  readonly up: Weight; //               (nExpert * dFf, dExpert)
  readonly down: Weight; //             (nExpert * dExpert, dFf)
}

/**
 * Σ over a token's experts of weight · expert(x), plus a residual: (rows, dExpert) → (rows, dExpert).
 * @param routed (rows, dModel): what the router sees; x if left out
 */
export function moe(
  k: Recorder,
  c: MoeShape,
  w: MoeWeights,
  x: Tensor,
  options: { readonly routed?: Tensor; readonly residual?: Tensor | null } = {},
): Tensor {
  const { nExpert, topK, scoring, nGroup, topKGroup, normalise, scale, act } = c;
  const { routed = x, residual = null } = options;
  // (rows, topK) each
  const { experts, weights } = route(k, {
    scores: linear(k, routed, w.router),
    scoring,
    choiceBias: w.choiceBias,
    nGroup,
    topKGroup,
    topK,
    normalise,
    scale,
  });
  const up = expertLinear(k, { x, weight: w.up, nExpert, experts }); // (rows, topK * dFf)
  const hidden =
    w.gate === null
      ? activation(k, up, act)
      : gate(k, { a: expertLinear(k, { x, weight: w.gate, nExpert, experts }), b: up, act });
  return expertLinear(k, { x: hidden, weight: w.down, nExpert, experts, weights, residual });
}

/** Where a file keeps the tensors, under their full names. */
export interface MoeNames {
  readonly router: string;
  readonly choiceBias: string;
  /** One below the other: one tensor (nExpert, dFf, dExpert), or `eachExpert` of many. */
  readonly gate: MatrixParts;
  readonly up: MatrixParts;
  /** (nExpert, dExpert, dFf) */
  readonly down: MatrixParts;
}

/** One part for each expert. */
export function eachExpert(
  nExpert: number,
  part: (expert: number) => MatrixPart,
): readonly MatrixPart[] {
  return Array.from({ length: nExpert }, (_, expert) => part(expert));
}

/** @throws WeightsError `missing`, `mismatch` */
export async function loadMoe(
  from: WeightLoader,
  name: MoeNames,
  c: MoeShape,
): Promise<MoeWeights> {
  const { dModel, dExpert, dFf, nExpert } = c;
  return {
    router: await from.matrix(name.router, nExpert, dModel, true),
    choiceBias: c.choiceBias ? await from.vector(name.choiceBias, 1, nExpert) : null,
    gate: c.gated ? await from.matrix(name.gate, nExpert * dFf, dExpert) : null,
    up: await from.matrix(name.up, nExpert * dFf, dExpert),
    down: await from.matrix(name.down, nExpert * dExpert, dFf),
  };
}

/** llama.cpp's names in the layer whose names begin with `at`. */
export function ggufMoeNames(at: string): MoeNames {
  return {
    router: `${at}ffn_gate_inp.weight`,
    choiceBias: `${at}exp_probs_b.bias`,
    gate: `${at}ffn_gate_exps.weight`,
    up: `${at}ffn_up_exps.weight`,
    down: `${at}ffn_down_exps.weight`,
  };
}

/** Ten times any model; names are listed for each before its weights are seen. */
const MAX_EXPERTS = 16_384;

/** @throws WeightsError `malformed` if a token cannot have so many experts */
export function requireExperts({ nExpert, topK, nGroup, topKGroup }: MoeShape): void {
  requireGeometry(nExpert <= MAX_EXPERTS, `${nExpert} experts`);
  requireGeometry(nExpert % nGroup === 0, `${nGroup} groups do not divide ${nExpert} experts`);
  requireGeometry(topKGroup <= nGroup, `${topKGroup} of ${nGroup} groups of experts`);
  requireGeometry(
    topK <= (nExpert / nGroup) * topKGroup,
    `${topK} experts a token of ${(nExpert / nGroup) * topKGroup}`,
  );
}
