/**
 * Jamba: Mamba layers, an attention layer now and then, and a mixture of experts instead of some MLPs.
 * Source: Lieber et al. 2024 (arXiv:2403.19887), [1]; transformers `modeling_jamba.py`; for GGUF llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. Attention knows of no positions but through the Mamba layers before it.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  requireGeometry,
  requireLayers,
  type Architecture,
  type GgufDescription,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  plainAttention,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
} from "./blocks/attention.ts";
import {
  loadMambaMixer,
  mambaMixer,
  mambaMixerSlots,
  requireMambaMixer,
  type MambaMixerShape,
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
import { readActivation } from "./blocks/read-activation.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

/** What stands in a layer: `[1]` §3.1, fig. 2. */
interface LayerKind {
  readonly mixer: "mamba" | "attention";
  readonly feedForward: "mlp" | "experts";
}

interface JambaConfig {
  readonly layers: readonly LayerKind[];
  readonly dModel: number;
  readonly dFf: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly act: Activation;
  readonly mamba: MambaMixerShape;
  readonly attention: AttentionShape;
  readonly experts: MoeShape;
  /** The head is the embedding. */
  readonly tied: boolean;
}

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

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 4096);
  const dFf = config.count(["intermediate_size"], 14_336);
  const eps = config.positive(["rms_norm_eps"], 1e-6);
  const act = readActivation(config, ["hidden_act"], "silu");
  const nHead = config.count(["num_attention_heads"], 32);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const nExpert = config.count(["num_experts", "num_local_experts"], 16);
  const attention = readPeriod(config, "attn_layer", { period: 8, offset: 4 });
  const experts = readPeriod(config, "expert_layer", { period: 2, offset: 1 });
  return model({
    layers: Array.from(
      { length: requireLayers(config.count(["num_hidden_layers"], 32)) },
      (_, i): LayerKind => ({
        mixer: attention(i) ? "attention" : "mamba",
        feedForward: nExpert > 1 && experts(i) ? "experts" : "mlp",
      }),
    ),
    dModel,
    dFf,
    vocabSize: config.count(["vocab_size"], 65_536),
    eps,
    act,
    mamba: {
      dModel,
      dInner: Math.trunc(config.positive(["mamba_expand"], 2) * dModel),
      dState: config.count(["mamba_d_state"], 16),
      dConv: config.count(["mamba_d_conv"], 4),
      dtRank: config.is("mamba_dt_rank", "auto")
        ? Math.ceil(dModel / 16)
        : config.count(["mamba_dt_rank"], Math.ceil(dModel / 16)),
      projectionBias: config.boolean(["mamba_proj_bias"], false),
      convBias: config.boolean(["mamba_conv_bias"], true),
      act,
      innerEps: eps,
      innerNorms: "weighted",
    },
    attention: plainAttention({
      dModel,
      nHead,
      headDim,
      // null means one for each query head; 8 is the default of a field that is not there.
      nKvHead: config.isNull("num_key_value_heads")
        ? nHead
        : config.count(["num_key_value_heads"], 8),
    }),
    experts: moeShape({
      dModel,
      dFf,
      nExpert,
      topK: config.count(["num_experts_per_tok"], 2),
      act,
    }),
    tied: config.boolean(["tie_word_embeddings"], false),
  });
}

/** Every `period`-th layer from `offset` on. `[1]` §3.1: "l, a : m, e". */
function readPeriod(
  config: ConfigFields,
  name: string,
  fallback: { readonly period: number; readonly offset: number },
): (layer: number) => boolean {
  const period = config.count([`${name}_period`], fallback.period);
  const offset = config.whole([`${name}_offset`], fallback.offset);
  requireGeometry(offset < period, `${name}_offset ${offset} is not below its period ${period}`);
  return (layer) => layer % period === offset;
}

/** `[1]` §3.1: the probabilities of all experts, of which the best count as they are. */
function moeShape(c: {
  readonly dModel: number;
  readonly dFf: number;
  readonly nExpert: number;
  readonly topK: number;
  readonly act: Activation;
}): MoeShape {
  const { dModel, dFf, nExpert, topK, act } = c;
  return {
    dModel,
    dExpert: dModel,
    dFf,
    nExpert,
    topK,
    scoring: "softmax",
    choiceBias: false,
    nGroup: 1,
    topKGroup: 1,
    normalise: false,
    scale: 1,
    act,
    gated: true,
  };
}

/** How llama.cpp describes a model; null for what it does not know. */
function ggufDescription(c: JambaConfig): GgufDescription | null {
  const { mamba, attention, experts } = c;
  const known =
    c.act === "silu" &&
    !mamba.projectionBias &&
    mamba.convBias &&
    mamba.dInner === 2 * c.dModel &&
    attention.nHead * attention.headDim === c.dModel;
  if (!known) return null;
  return {
    architecture: "jamba",
    fields: {
      block_count: c.layers.length,
      context_length: 2 ** 18,
      embedding_length: c.dModel,
      feed_forward_length: c.dFf,
      "attention.head_count": attention.nHead,
      // No key heads: a Mamba layer.
      "attention.head_count_kv": c.layers.map(({ mixer }) =>
        mixer === "attention" ? attention.nKvHead : 0,
      ),
      "attention.key_length": attention.headDim,
      "attention.value_length": attention.headDim,
      "attention.layer_norm_rms_epsilon": c.eps,
      "ssm.conv_kernel": mamba.dConv,
      "ssm.inner_size": mamba.dInner,
      "ssm.state_size": mamba.dState,
      "ssm.time_step_rank": mamba.dtRank,
      expert_count: experts.nExpert,
      expert_used_count: experts.topK,
    },
  };
}

/** `model_type` "jamba", also in GGUF. */
export const jamba: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "jamba");
    const { gguf } = NAMES;
    const nLayer = requireLayers(config.count("block_count"));
    const dModel = config.count("embedding_length");
    const dFf = config.count("feed_forward_length");
    const eps = config.positive("attention.layer_norm_rms_epsilon");
    const nHead = config.count("attention.head_count");
    const nKvHeads = config.perLayer("attention.head_count_kv", nLayer);
    const layers = nKvHeads.map((heads, i): LayerKind => ({
      mixer: heads > 0 ? "attention" : "mamba",
      feedForward: tensors.has(`${gguf.layer(i)}ffn_gate_inp.weight`) ? "experts" : "mlp",
    }));
    const firstMamba = gguf.layer(layers.findIndex(({ mixer }) => mixer === "mamba"));
    return model({
      layers,
      dModel,
      dFf,
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps,
      act: "silu",
      mamba: {
        dModel,
        dInner: config.count("ssm.inner_size"),
        dState: config.count("ssm.state_size"),
        dConv: config.count("ssm.conv_kernel"),
        dtRank: config.count("ssm.time_step_rank"),
        projectionBias: tensors.has(`${firstMamba}ssm_in.bias`),
        convBias: tensors.has(`${firstMamba}ssm_conv1d.bias`),
        act: "silu",
        innerEps: eps,
        innerNorms: "weighted",
      },
      attention: plainAttention({
        dModel,
        nHead,
        headDim: config.count("attention.key_length", Math.floor(dModel / nHead)),
        nKvHead: Math.max(1, ...nKvHeads),
      }),
      experts: moeShape({
        dModel,
        dFf,
        nExpert: Math.max(1, config.whole("expert_count", 1)),
        topK: Math.max(1, config.whole("expert_used_count", 1)),
        act: "silu",
      }),
      tied: !tensors.has(gguf.head),
    });
  },
};
