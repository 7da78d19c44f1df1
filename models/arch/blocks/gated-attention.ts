/**
 * Attention with an output gate, as Qwen3-Next has it: the query's projection is twice as wide, a gate beside each head.
 * Source: Qiu et al. 2025 (arXiv:2505.06708) §2.2; transformers `modeling_qwen3_next.py`.
 */
import { attention } from "../../../kernels/ops/attention/attention.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { rope } from "../../../kernels/ops/rope/rope.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { reshape, split } from "../../../kernels/spec/views.ts";
import type { WeightLoader } from "../weight-loader.ts";
import { ATTENTION_NAMES, type RotationWeights } from "./attention.ts";

export interface GatedAttentionShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
  /** Of all four projections. */
  readonly bias: boolean;
  /** Of the norms of queries and keys. */
  readonly eps: number;
}

export interface GatedAttentionWeights {
  readonly q: Weight; //             (nHead * 2 * headDim, dModel): of each head the query, then the gate
  readonly qBias: Weight | null; //  (1, nHead * 2 * headDim)
  readonly k: Weight; //             (nKvHead * headDim, dModel)
  readonly kBias: Weight | null; //  (1, nKvHead * headDim)
  readonly v: Weight; //             (nKvHead * headDim, dModel)
  readonly vBias: Weight | null; //  (1, nKvHead * headDim)
  readonly qNorm: Weight; //         (1, headDim)
  readonly kNorm: Weight; //         (1, headDim)
  readonly out: Weight; //           (dModel, nHead * headDim)
  readonly outBias: Weight | null; //(1, dModel)
}

/** (B * T, dModel) → (B * T, dModel), plus the residual. */
export function gatedAttention(
  k: Recorder,
  c: GatedAttentionShape,
  w: GatedAttentionWeights,
  rotation: RotationWeights,
  slots: { readonly keys: Tensor; readonly values: Tensor },
  x: Tensor,
  residual: Tensor,
): Tensor {
  const { nHead, nKvHead, headDim, eps } = c;
  const turn = (heads: Tensor): Tensor => rope(k, { x: heads, headDim, ...rotation });
  const heads = reshape(linear(k, x, w.q, { bias: w.qBias }), 2 * headDim); // (B * T * nHead, 2 * headDim)
  const [qRaw, gates] = split(heads, [headDim, headDim]); // (B * T * nHead, headDim) × 2
  const q = turn(reshape(rmsNorm(k, { x: qRaw, weight: w.qNorm, eps }), nHead * headDim)); // (B * T, nHead * headDim)
  const kRaw = linear(k, x, w.k, { bias: w.kBias }); // (B * T, nKvHead * headDim)
  const keys = turn(rmsNorm(k, { x: kRaw, weight: w.kNorm, eps, groupSize: headDim }));
  const v = linear(k, x, w.v, { bias: w.vBias }); // (B * T, nKvHead * headDim)
  // (B * T, nHead * headDim)
  const y = attention(k, {
    q,
    k: keys,
    v,
    keys: slots.keys,
    values: slots.values,
    nHead,
    nKvHead,
    headDimK: headDim,
    headDimV: headDim,
    scale: 1 / Math.sqrt(headDim),
    window: null,
  });
  const gated = gate(k, { a: gates, b: reshape(y, headDim), act: "sigmoid" }); // (B * T * nHead, headDim)
  return linear(k, reshape(gated, nHead * headDim), w.out, { bias: w.outBias, residual }); // (B * T, dModel)
}

/**
 * @param at the layer's prefix
 * @param normMap what the norms' stored weights stand for; undefined: themselves
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadGatedAttention(
  from: WeightLoader,
  at: string,
  c: GatedAttentionShape,
  normMap: ((stored: number) => number) | undefined,
): Promise<GatedAttentionWeights> {
  const { dModel, nHead, nKvHead, headDim } = c;
  const name = ATTENTION_NAMES[from.format];
  const matrix = (tensor: string, rows: number, cols: number): Promise<Weight> =>
    from.matrix(`${at}${tensor}.weight`, rows, cols);
  const bias = async (tensor: string, cols: number): Promise<Weight | null> =>
    c.bias ? from.vector(`${at}${tensor}.bias`, 1, cols) : null;
  const norm = (tensor: string): Promise<Weight> =>
    from.vector(`${at}${tensor}.weight`, 1, headDim, normMap);
  return {
    q: await matrix(name.q, nHead * 2 * headDim, dModel),
    qBias: await bias(name.q, nHead * 2 * headDim),
    k: await matrix(name.k, nKvHead * headDim, dModel),
    kBias: await bias(name.k, nKvHead * headDim),
    v: await matrix(name.v, nKvHead * headDim, dModel),
    vBias: await bias(name.v, nKvHead * headDim),
    qNorm: await norm(name.qNorm),
    kNorm: await norm(name.kNorm),
    out: await matrix(name.out, dModel, nHead * headDim),
    outBias: await bias(name.out, dModel),
  };
}
