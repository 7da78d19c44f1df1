/** What describes a Granite 4, from config.json and from GGUF metadata, and how llama.cpp describes it. */
import type { Activation } from "../../kernels/spec/activations.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";
import type { JsonObject } from "../weights/json.ts";
import type { TensorSource } from "../weights/source.ts";
import { requireGeometry, requireLayers, type GgufDescription } from "./architecture.ts";
import { neighbourOrder, plainAttention, type AttentionShape } from "./blocks/attention.ts";
import {
  ggufKnowsMamba2Mixer,
  ggufMamba2Fields,
  ggufMamba2Shapes,
  readGgufMamba2Fields,
  readMamba2Fields,
} from "./blocks/mamba2-fields.ts";
import { dInnerOf, type Mamba2MixerShape } from "./blocks/mamba2-mixer.ts";
import type { MoeShape } from "./blocks/moe.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readGgufRotation, readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";

export interface GraniteConfig {
  /** What mixes in each layer. */
  readonly layers: readonly ("mamba" | "attention")[];
  readonly dModel: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly eps: number;
  readonly act: Activation;
  readonly mamba: Mamba2MixerShape;
  readonly attention: AttentionShape;
  /** null: attention knows of no positions but through the Mamba layers. */
  readonly rotation: Rotation | null;
  /** Columns within the MLP. */
  readonly dFf: number;
  readonly mlpBias: boolean;
  /** null: no experts, the MLP alone. */
  readonly experts: MoeShape | null;
  readonly multipliers: {
    readonly embedding: number;
    /** Of what a mixer or feed-forward part adds to the stream. */
    readonly residual: number;
    /** Of the logits: the configuration's field divides. */
    readonly logits: number;
  };
  /** The head is the embedding. */
  readonly tied: boolean;
}

/** @throws WeightsError `missing`, `malformed`, `unsupported` */
export function readConfig(json: JsonObject): GraniteConfig {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 4096);
  const eps = config.positive(["rms_norm_eps"], 1e-6);
  const act = readActivation(config, ["hidden_act"], "silu");
  const nHead = config.count(["num_attention_heads"], 32);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const attentionBias = config.boolean(["attention_bias"], false);
  const maxPositions = config.count(["max_position_embeddings"], 2048);
  const rotation = config.is("position_embedding_type", "rope")
    ? readRotation(config, { headDim, partial: null, maxPositions })
    : null;
  const nExpert = config.whole(["num_local_experts"], 8);
  return {
    layers: readLayers(config),
    dModel,
    vocabSize: config.count(["vocab_size"], 32_000),
    maxPositions,
    eps,
    act,
    mamba: readMamba2Fields(config, { dModel, eps, act }),
    attention: {
      ...plainAttention({
        dModel,
        nHead,
        nKvHead: config.count(["num_key_value_heads"], nHead),
        headDim,
      }),
      scale: config.number(["attention_multiplier"], 1),
      qkvBias: attentionBias,
      outBias: attentionBias,
      ...(rotation === null ? {} : { qkOrder: neighbourOrder(2 * rotation.frequencies.length) }),
    },
    rotation,
    dFf: config.count(["shared_intermediate_size"], 1024),
    mlpBias: false,
    experts:
      nExpert === 0
        ? null
        : moeShape({
            dModel,
            dFf: config.count(["intermediate_size"], 11_008),
            nExpert,
            topK: config.count(["num_experts_per_tok"], 2),
            act,
          }),
    multipliers: {
      embedding: config.number(["embedding_multiplier"], 1),
      residual: config.number(["residual_multiplier"], 1),
      logits: 1 / config.number(["logits_scaling"], 1),
    },
    tied: config.boolean(["tie_word_embeddings"], false),
  };
}

function readLayers(config: ConfigFields): GraniteConfig["layers"] {
  const nLayer = requireLayers(config.count(["num_hidden_layers"], 32));
  const kinds = config.strings(["layer_types", "layers_block_type"]);
  if (kinds === null) return Array.from({ length: nLayer }, () => "mamba" as const);
  requireGeometry(kinds.length === nLayer, `${kinds.length} layer_types for ${nLayer} layers`);
  return kinds.map((kind) => {
    if (kind === "linear_attention" || kind === "mamba") return "mamba";
    if (kind === "full_attention" || kind === "attention") return "attention";
    throw config.unsupported("layer_types", "linear_attention (mamba), full_attention (attention)");
  });
}

/** The choice by raw scores, then probabilities among the chosen. */
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
    scoring: "softmax-of-chosen",
    choiceBias: false,
    nGroup: 1,
    topKGroup: 1,
    normalise: false,
    scale: 1,
    act,
    gated: true,
  };
}

/**
 * Bamba is such a model too, in GGUF files.
 * @throws WeightsError `missing`, `malformed`
 */
export function readGgufConfig(metadata: GgufMetadata, tensors: TensorSource): GraniteConfig {
  const config = new GgufFields(metadata, "granitehybrid");
  const nLayer = requireLayers(config.count("block_count"));
  const dModel = config.count("embedding_length");
  const eps = config.positive("attention.layer_norm_rms_epsilon");
  const nHead = config.count("attention.head_count");
  const headDim = config.count("attention.key_length", Math.floor(dModel / nHead));
  const nKvHeads = config.perLayer("attention.head_count_kv", nLayer);
  const layers = nKvHeads.map((heads) => (heads > 0 ? "attention" : "mamba"));
  const at = (kind: "mamba" | "attention"): string => `blk.${layers.indexOf(kind)}.`;
  const nExpert = config.whole("expert_count", 0);
  const dFf = config.count("feed_forward_length");
  return {
    layers,
    dModel,
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
    maxPositions: config.count("context_length", 2 ** 20),
    eps,
    act: "silu",
    mamba: readGgufMamba2Fields(config, tensors, { dModel, eps, at: at("mamba") }),
    attention: {
      ...plainAttention({ dModel, nHead, nKvHead: Math.max(1, ...nKvHeads), headDim }),
      scale: config.positive("attention.scale", headDim ** -0.5),
      qkvBias: tensors.has(`${at("attention")}attn_q.bias`),
      outBias: tensors.has(`${at("attention")}attn_output.bias`),
    },
    rotation:
      config.has("rope.scaling.finetuned") && !config.flag("rope.scaling.finetuned")
        ? null
        : readGgufRotation(config, headDim),
    dFf: nExpert === 0 ? dFf : config.count("expert_shared_feed_forward_length"),
    mlpBias: tensors.has(`blk.0.ffn_down.bias`),
    experts:
      nExpert === 0
        ? null
        : moeShape({
            dModel,
            dFf,
            nExpert,
            topK: config.count("expert_used_count"),
            act: "silu",
          }),
    multipliers: {
      embedding: config.positive("embedding_scale", 1),
      residual: config.positive("residual_scale", 1),
      logits: 1 / config.positive("logit_scale", 1),
    },
    tied: !tensors.has("output.weight"),
  };
}

/** How llama.cpp describes the same model, or null where it has no words for it. */
export function ggufDescription(c: GraniteConfig): GgufDescription | null {
  const { mamba, attention, experts, multipliers } = c;
  const known =
    ggufKnowsMamba2Mixer(mamba) &&
    // llama.cpp asserts it.
    dInnerOf(mamba) === 2 * c.dModel &&
    c.act === "silu" &&
    (c.rotation === null || c.rotation.gguf !== undefined) &&
    // Without them llama.cpp makes another architecture of it.
    c.layers.includes("mamba");
  if (!known) return null;
  return {
    architecture: "granitehybrid",
    fields: {
      block_count: c.layers.length,
      context_length: c.maxPositions,
      embedding_length: c.dModel,
      feed_forward_length: experts === null ? c.dFf : experts.dFf,
      "attention.head_count": attention.nHead,
      // No key heads: a Mamba layer.
      "attention.head_count_kv": c.layers.map((kind) =>
        kind === "attention" ? attention.nKvHead : 0,
      ),
      "attention.key_length": attention.headDim,
      "attention.value_length": attention.headDim,
      "attention.scale": attention.scale,
      "attention.layer_norm_rms_epsilon": c.eps,
      embedding_scale: multipliers.embedding,
      residual_scale: multipliers.residual,
      logit_scale: 1 / multipliers.logits,
      ...c.rotation?.gguf,
      // So llama.cpp tells models with a rotation from those without.
      "rope.scaling.finetuned": c.rotation !== null,
      ...ggufMamba2Fields(mamba),
      ...(experts === null
        ? {}
        : {
            expert_count: experts.nExpert,
            expert_used_count: experts.topK,
            expert_shared_feed_forward_length: c.dFf,
          }),
    },
    shapes: ggufMamba2Shapes(mamba),
  };
}
