/**
 * Jamba: Mamba layers, an attention layer now and then, and a mixture of experts instead of some MLPs.
 * Source: Lieber et al. 2024 (arXiv:2403.19887), [1]; transformers `modeling_jamba.py`; for GGUF llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. Attention knows of no positions but through the Mamba layers before it.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { Architecture, Model, RecordRun } from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  requireHeads,
  type AttentionWeights,
} from "./blocks/attention.ts";
import {
  loadMambaMixer,
  mambaMixer,
  mambaMixerSlots,
  requireMambaMixer,
  type MambaMixerWeights,
} from "./blocks/mamba-mixer.ts";
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
import {
  ggufDescription,
  readConfig,
  readGgufConfig,
  type JambaConfig,
  type LayerKind,
} from "./jamba-config.ts";

type MixerWeights =
  | { readonly kind: "mamba"; readonly weights: MambaMixerWeights }
  | { readonly kind: "attention"; readonly weights: AttentionWeights };

type FeedForwardWeights =
  | { readonly kind: "mlp"; readonly weights: MlpWeights }
  | { readonly kind: "experts"; readonly weights: MoeWeights };

interface LayerWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly mixer: MixerWeights;
  readonly feedForwardNorm: Weight; //(1, dModel)
  readonly feedForward: FeedForwardWeights;
}

interface JambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer: a mixer and a feed-forward part, each after a norm and with a residual. */
function jambaLayer(
  k: Recorder,
  c: JambaConfig,
  w: LayerWeights,
  layer: number,
  x: Tensor,
): Tensor {
  const first = k.state(2 * layer);
  const second = k.state(2 * layer + 1);
  const normed = rmsNorm(k, { x, weight: w.norm, eps: c.eps }); // (B * T, dModel)
  // (B * T, dModel)
  const mixed =
    w.mixer.kind === "mamba"
      ? mambaMixer(k, c.mamba, w.mixer.weights, { conv: first, ssm: second }, normed, {
          residual: x,
        })
      : attentionLayer(
          k,
          c.attention,
          w.mixer.weights,
          null,
          { keys: first, values: second },
          normed,
          { residual: x },
        );
  const fed = rmsNorm(k, { x: mixed, weight: w.feedForwardNorm, eps: c.eps }); // (B * T, dModel)
  return w.feedForward.kind === "mlp"
    ? mlp(k, w.feedForward.weights, fed, { act: c.act, residual: mixed })
    : moe(k, c.experts, w.feedForward.weights, fed, { residual: mixed }); // (B * T, dModel)
}

function recordJamba(c: JambaConfig, w: JambaWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      x = jambaLayer(k, c, layer, i, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** Two slots a layer, whatever it is. */
function stateLayout(c: JambaConfig): StateLayout {
  return c.layers.flatMap(({ mixer }, i) =>
    mixer === "mamba"
      ? mambaMixerSlots(`layers.${i}`, c.mamba)
      : attentionLayerSlots(`layers.${i}`, c.attention),
  );
}

/** What the files call the weights outside of mixers and experts. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.final_layernorm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    layerNorm: "input_layernorm.weight",
    mamba: "mamba.",
    feedForwardNorm: "pre_ff_layernorm.weight",
    gate: "feed_forward.gate_proj",
    up: "feed_forward.up_proj",
    down: "feed_forward.down_proj",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    layerNorm: "attn_norm.weight",
    mamba: "",
    feedForwardNorm: "ffn_norm.weight",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
  },
} as const;

function expertNames(from: WeightLoader, at: string, { nExpert }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({ name: `${at}feed_forward.experts.${i}.${matrix}.weight` }));
  return {
    router: `${at}feed_forward.router.weight`,
    choiceBias: "",
    gate: each("gate_proj"),
    up: each("up_proj"),
    down: each("down_proj"),
  };
}

async function loadLayer(
  c: JambaConfig,
  from: WeightLoader,
  i: number,
  { mixer, feedForward }: LayerKind,
): Promise<LayerWeights> {
  const { dModel, dFf } = c;
  const name = NAMES[from.format];
  const at = name.layer(i);
  return {
    norm: await from.vector(at + name.layerNorm, 1, dModel),
    mixer:
      mixer === "mamba"
        ? { kind: mixer, weights: await loadMambaMixer(from, at + name.mamba, c.mamba) }
        : {
            kind: mixer,
            weights: await loadAttention(from, at, ATTENTION_NAMES[from.format], c.attention),
          },
    feedForwardNorm: await from.vector(at + name.feedForwardNorm, 1, dModel),
    feedForward:
      feedForward === "mlp"
        ? {
            kind: feedForward,
            weights: await loadMlp(
              from,
              { gateUp: [at + name.gate, at + name.up], down: at + name.down },
              { dModel, dFf, bias: false },
            ),
          }
        : {
            kind: feedForward,
            weights: await loadMoe(from, expertNames(from, at, c.experts), c.experts),
          },
  };
}

async function loadWeights(c: JambaConfig, from: WeightLoader): Promise<JambaWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layers.entries()) layers.push(await loadLayer(c, from, i, kind));
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: JambaConfig): Model {
  requireMambaMixer(c.mamba);
  requireHeads(c.attention);
  if (c.layers.some(({ feedForward }) => feedForward === "experts")) requireExperts(c.experts);
  const gguf = ggufDescription(c);
  return {
    modelType: "jamba",
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordJamba(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "jamba", also in GGUF. */
export const jamba: Architecture = {
  fromConfig: (json) => model(readConfig(json)),
  fromGguf: (metadata, tensors) => model(readGgufConfig(metadata, tensors)),
};
