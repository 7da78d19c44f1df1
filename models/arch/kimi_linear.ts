/**
 * Kimi Linear: Kimi Delta Attention, and latent attention without positions in every fourth layer; MLPs first, then experts
 * beside one that all tokens share. Source: Kimi Linear (arXiv:2510.26692), fig. 3; transformers
 * `modeling_kimi_linear.py`; for GGUF llama.cpp.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import {
  requireGeometry,
  requireLayers,
  type Architecture,
  type GgufDescription,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  kimiDeltaAttention,
  kimiDeltaSlots,
  loadKimiDelta,
  type KimiDeltaWeights,
} from "./blocks/kimi-delta-attention.ts";
import {
  latentAttention,
  latentAttentionSlots,
  loadLatentAttention,
  type LatentAttentionWeights,
} from "./blocks/latent-attention.ts";
import {
  describeKimiLinear,
  readKimiLinear,
  readKimiLinearGguf,
  type KimiLinearConfig,
} from "./blocks/kimi-linear-fields.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import {
  eachExpert,
  ggufMoeNames,
  loadMoe,
  moe,
  requireExperts,
  type MoeNames,
  type MoeShape,
  type MoeWeights,
} from "./blocks/moe.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface LayerWeights {
  readonly mixerNorm: Weight; //       (1, dModel)
  readonly mixer:
    | { readonly kind: "delta"; readonly weights: KimiDeltaWeights }
    | { readonly kind: "attention"; readonly weights: LatentAttentionWeights };
  readonly feedForwardNorm: Weight; // (1, dModel)
  readonly feedForward:
    | { readonly kind: "mlp"; readonly mlp: MlpWeights }
    | { readonly kind: "experts"; readonly moe: MoeWeights; readonly shared: MlpWeights | null };
}

interface KimiLinearWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer with its two residuals: (B * T, dModel) → the same. */
function layer(
  k: Recorder,
  c: KimiLinearConfig,
  { mixer, feedForward, ...w }: LayerWeights,
  [first, second]: readonly [Tensor, Tensor],
  x: Tensor,
): Tensor {
  const { act, eps } = c;
  const normed = rmsNorm(k, { x, weight: w.mixerNorm, eps }); // (B * T, dModel)
  const mixed =
    mixer.kind === "delta"
      ? kimiDeltaAttention(k, c.delta, mixer.weights, { conv: first, recurrent: second }, normed, x)
      : latentAttention(k, c.attention, mixer.weights, { keys: first, values: second }, normed, x);
  const inner = rmsNorm(k, { x: mixed, weight: w.feedForwardNorm, eps }); // (B * T, dModel)
  if (feedForward.kind === "mlp") return mlp(k, feedForward.mlp, inner, { act, residual: mixed });
  const { shared } = feedForward;
  const residual = shared === null ? mixed : mlp(k, shared, inner, { act, residual: mixed });
  return moe(k, c.moe, feedForward.moe, inner, { residual });
}

function record(c: KimiLinearConfig, w: KimiLinearWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.layers.forEach((weights, i) => {
      x = layer(k, c, weights, [k.state(2 * i), k.state(2 * i + 1)], x);
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) });
  };
}

/** Two slots a layer. */
function slotsOf(c: KimiLinearConfig, i: number): readonly StateSlot[] {
  return c.mixers[i] === "delta"
    ? kimiDeltaSlots(`layers.${i}`, c.delta)
    : latentAttentionSlots(`layers.${i}`, c.attention);
}

const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    mixerNorm: "input_layernorm.weight",
    feedForwardNorm: "post_attention_layernorm.weight",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    mixerNorm: "attn_norm.weight",
    feedForwardNorm: "ffn_norm.weight",
  },
} as const;

/** Published files and the library's own call the feed-forward part of a layer by different names. */
function feedForwardRoot(from: WeightLoader, at: string, kind: "mlp" | "experts"): string {
  const probe = kind === "mlp" ? "down_proj.weight" : "gate.weight";
  const roots = [`${at}block_sparse_moe.`, `${at}mlp.`];
  return roots.find((root) => from.has(root + probe)) ?? roots[kind === "mlp" ? 1 : 0] ?? at;
}

function expertNames(from: WeightLoader, at: string, { nExpert }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const root = feedForwardRoot(from, at, "experts");
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({ name: `${root}experts.${i}.${matrix}.weight` }));
  return {
    router: `${root}gate.weight`,
    choiceBias: `${root}gate.e_score_correction_bias`,
    gate: each("w1"),
    up: each("w3"),
    down: each("w2"),
  };
}

async function loadFeedForward(
  from: WeightLoader,
  c: KimiLinearConfig,
  at: string,
  kind: "mlp" | "experts",
): Promise<LayerWeights["feedForward"]> {
  const { dModel, dFf, dShared } = c;
  const load = (prefix: string, suffix: string, width: number): Promise<MlpWeights> =>
    loadMlp(
      from,
      from.format === "gguf"
        ? {
            gateUp: [`${at}ffn_gate${suffix}`, `${at}ffn_up${suffix}`],
            down: `${at}ffn_down${suffix}`,
          }
        : { gateUp: [`${prefix}gate_proj`, `${prefix}up_proj`], down: `${prefix}down_proj` },
      { dModel, dFf: width, bias: false },
    );
  const root = feedForwardRoot(from, at, kind);
  if (kind === "mlp") return { kind, mlp: await load(root, "", dFf) };
  return {
    kind,
    moe: await loadMoe(from, expertNames(from, at, c.moe), c.moe),
    shared: dShared === 0 ? null : await load(`${root}shared_experts.`, "_shexp", dShared),
  };
}

async function loadWeights(from: WeightLoader, c: KimiLinearConfig): Promise<KimiLinearWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const table = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.feedForwards.entries()) {
    const at = name.layer(i);
    layers.push({
      mixerNorm: await from.vector(at + name.mixerNorm, 1, dModel),
      mixer:
        c.mixers[i] === "delta"
          ? { kind: "delta", weights: await loadKimiDelta(from, at, c.delta) }
          : { kind: "attention", weights: await loadLatentAttention(from, at, c.attention) },
      feedForwardNorm: await from.vector(at + name.feedForwardNorm, 1, dModel),
      feedForward: await loadFeedForward(from, c, at, kind),
    });
  }
  return {
    embedding: table,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? table : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: KimiLinearConfig, gguf?: GgufDescription): Model {
  requireGeometry(c.delta.dConv >= 2, `a convolution of ${c.delta.dConv} taps has no state`);
  if (c.feedForwards.includes("experts")) requireExperts(c.moe);
  return {
    modelType: "kimi_linear",
    nLayer: requireLayers(c.mixers.length),
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.mixers.flatMap((_, i) => slotsOf(c, i)),
    ...(gguf === undefined ? {} : { gguf }),
    load: async (loader) => record(c, await loadWeights(loader, c)),
  };
}

/** `model_type` "kimi_linear", "kimi-linear" in GGUF files. */
export const kimiLinear: Architecture = {
  fromConfig(json) {
    const c = readKimiLinear(json);
    return model(c, describeKimiLinear(c));
  },

  fromGguf: (metadata, tensors) => model(readKimiLinearGguf(metadata, tensors)),
};
