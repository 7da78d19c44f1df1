/**
 * Multi-head latent attention: keys and values of all heads are projections of one latent vector a token, which alone is
 * kept. Source: DeepSeek-V2 (arXiv:2405.04434) §2.1, without positions as Kimi Linear (arXiv:2510.26692) §4.1 has it;
 * transformers `modeling_kimi_linear.py`.
 *
 * The key's projection is moved onto the query and the value's behind the sum ("absorbed", arXiv:2405.04434 §2.1.2): then
 * all heads attend to the latents themselves, as heads of one key head.
 */
import { attention, attentionSlots } from "../../../kernels/ops/attention/attention.ts";
import { blockLinear } from "../../../kernels/ops/block-linear/block-linear.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../../kernels/ops/scaled-add/scaled-add.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { columns, reshape, split } from "../../../kernels/spec/views.ts";
import type { MatrixPart } from "../matrix-parts.ts";
import type { WeightLoader } from "../weight-loader.ts";

export interface LatentAttentionShape {
  readonly dModel: number;
  readonly nHead: number;
  /** Columns of the latent vector. */
  readonly rank: number;
  /** Columns of the query's latent vector, or null for none. */
  readonly queryRank: number | null;
  /** Columns of a head that come from the latent vector. */
  readonly headDimLatent: number;
  /** Columns of a key that all heads share, beside the latent ones; elsewhere those that turn. */
  readonly headDimShared: number;
  readonly headDimV: number;
  /** Of the projections to latent vectors and of the last one. */
  readonly bias: boolean;
}

export interface LatentAttentionWeights {
  readonly qDown: null | {
    readonly matrix: Weight; //     (queryRank, dModel)
    readonly bias: Weight | null; //(1, queryRank)
    readonly norm: Weight; //       (1, queryRank)
  };
  readonly q: Weight; //              (nHead * (headDimLatent + headDimShared), dModel or queryRank)
  readonly kvDown: Weight; //         (rank + headDimShared, dModel): the latent vector, the shared key
  readonly kvDownBias: Weight | null; // (1, rank + headDimShared)
  readonly kvNorm: Weight; //         (1, rank)
  readonly kUp: Weight; //            (nHead * rank, headDimLatent): a head's keys, transposed
  readonly vUp: Weight; //            (nHead * headDimV, rank)
  readonly out: Weight; //            (dModel, nHead * headDimV)
  readonly outBias: Weight | null; // (1, dModel)
}

/** Of the norms of latent vectors: the library's default, whatever the configuration says of other norms. */
const LATENT_EPS = 1e-6;

/** (B * T, dModel) → (B * T, dModel), plus the residual. */
export function latentAttention(
  k: Recorder,
  c: LatentAttentionShape,
  w: LatentAttentionWeights,
  slots: { readonly keys: Tensor; readonly values: Tensor },
  x: Tensor,
  residual: Tensor,
): Tensor {
  const { nHead, rank, headDimLatent, headDimShared } = c;
  const norm = (y: Tensor, weight: Weight): Tensor => rmsNorm(k, { x: y, weight, eps: LATENT_EPS });
  const queryIn =
    w.qDown === null ? x : norm(linear(k, x, w.qDown.matrix, { bias: w.qDown.bias }), w.qDown.norm); // (B * T, dModel or queryRank)
  const heads = reshape(linear(k, queryIn, w.q), headDimLatent + headDimShared); // (B * T * nHead, …)
  const [qLatent, qShared] = split(heads, [headDimLatent, headDimShared]);
  const absorbed = blockLinear(k, {
    x: reshape(scaledAdd(k, { a: qLatent }), nHead * headDimLatent),
    weight: w.kUp,
    nBlock: nHead,
  }); // (B * T, nHead * rank)
  const q = sideBySide(k, reshape(absorbed, rank), qShared); // (B * T * nHead, rank + headDimShared)

  // (B * T, rank), (B * T, headDimShared)
  const [latentRaw, kShared] = split(linear(k, x, w.kvDown, { bias: w.kvDownBias }), [
    rank,
    headDimShared,
  ]);
  const latent = norm(latentRaw, w.kvNorm); // (B * T, rank)
  // (B * T, nHead * rank)  arXiv:2405.04434 eq. 15–18
  const y = attention(k, {
    q: reshape(q, nHead * (rank + headDimShared)),
    k: sideBySide(k, latent, kShared),
    v: latent,
    keys: slots.keys,
    values: slots.values,
    nHead,
    nKvHead: 1,
    headDimK: rank + headDimShared,
    headDimV: rank,
    scale: 1 / Math.sqrt(headDimLatent + headDimShared),
    window: null,
  });
  const values = blockLinear(k, { x: y, weight: w.vUp, nBlock: nHead }); // (B * T, nHead * headDimV)
  return linear(k, values, w.out, { bias: w.outBias, residual }); // (B * T, dModel)
}

/** (rows, n), (rows, m) → (rows, n + m). */
function sideBySide(k: Recorder, a: Tensor, b: Tensor): Tensor {
  const joined = k.temporary(a.rows, a.cols + b.cols);
  scaledAdd(k, { a, into: columns(joined, 0, a.cols) });
  scaledAdd(k, { a: b, into: columns(joined, a.cols, b.cols) });
  return joined;
}

/** Keys, then values: of each token the latent vector with the shared key, and the latent vector. */
export function latentAttentionSlots(
  prefix: string,
  { rank, headDimShared }: LatentAttentionShape,
): readonly StateSlot[] {
  return attentionSlots(prefix, {
    nKvHead: 1,
    headDimK: rank + headDimShared,
    headDimV: rank,
    window: null,
  });
}

const NAMES = {
  safetensors: {
    qDown: "self_attn.q_a_proj",
    qNorm: "self_attn.q_a_layernorm",
    q: "self_attn.q_proj",
    qUp: "self_attn.q_b_proj",
    kvDown: "self_attn.kv_a_proj_with_mqa",
    kvNorm: "self_attn.kv_a_layernorm",
    kvUp: "self_attn.kv_b_proj",
    out: "self_attn.o_proj",
  },
  gguf: {
    qDown: "attn_q_a",
    qNorm: "attn_q_a_norm",
    q: "attn_q",
    qUp: "attn_q_b",
    kvDown: "attn_kv_a_mqa",
    kvNorm: "attn_kv_a_norm",
    kvUp: "attn_kv_b",
    out: "attn_output",
  },
} as const;

/**
 * @param at the layer's prefix
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadLatentAttention(
  from: WeightLoader,
  at: string,
  c: LatentAttentionShape,
): Promise<LatentAttentionWeights> {
  const { dModel, nHead, rank, queryRank, headDimLatent, headDimShared, headDimV } = c;
  const name = NAMES[from.format];
  const dQ = nHead * (headDimLatent + headDimShared);
  const bias = async (tensor: string, cols: number): Promise<Weight | null> =>
    c.bias ? from.vector(`${at}${tensor}.bias`, 1, cols) : null;
  const qDown =
    queryRank === null
      ? null
      : {
          matrix: await from.matrix(`${at}${name.qDown}.weight`, queryRank, dModel),
          bias: await bias(name.qDown, queryRank),
          norm: await from.vector(`${at}${name.qNorm}.weight`, 1, queryRank),
        };
  const q = queryRank === null ? name.q : name.qUp;
  // Of each head its keys' rows, then its values'; llama.cpp's later files have them apart, the keys' turned already.
  const joined = `${at}${name.kvUp}.weight`;
  const apart = from.format === "gguf" && from.has(`${at}attn_k_b.weight`);
  const part = (first: number, width: number): readonly MatrixPart[] => [
    {
      name: joined,
      rows: nHead * width,
      storedRows: nHead * (headDimLatent + headDimV),
      order: (row) => Math.floor(row / width) * (headDimLatent + headDimV) + first + (row % width),
    },
  ];
  return {
    qDown,
    q: await from.matrix(`${at}${q}.weight`, dQ, queryRank ?? dModel),
    kvDown: await from.matrix(`${at}${name.kvDown}.weight`, rank + headDimShared, dModel),
    kvDownBias: await bias(name.kvDown, rank + headDimShared),
    kvNorm: await from.vector(`${at}${name.kvNorm}.weight`, 1, rank),
    kUp: apart
      ? await from.matrix(`${at}attn_k_b.weight`, nHead * rank, headDimLatent)
      : await from.transposed(part(0, headDimLatent), nHead, rank, headDimLatent),
    vUp: await from.matrix(
      apart ? `${at}attn_v_b.weight` : part(headDimLatent, headDimV),
      nHead * headDimV,
      rank,
    ),
    out: await from.matrix(`${at}${name.out}.weight`, dModel, nHead * headDimV),
    outBias: await bias(name.out, dModel),
  };
}
