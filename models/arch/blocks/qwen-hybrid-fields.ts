/** The configurations of Qwen3-Next and Qwen3.5, from Hugging Face's fields and from llama.cpp's. */
import type { GgufMetadata } from "../../weights/gguf-metadata.ts";
import type { TensorSource } from "../../weights/source.ts";
import { requireGeometry, requireLayers, type GgufDescription } from "../architecture.ts";
import type { ConfigFields } from "../config-fields.ts";
import { GgufFields } from "../gguf-fields.ts";
import type { DeltaNetShape } from "./gated-delta-net.ts";
import type { FeedForwardShape, QwenHybridConfig } from "./qwen-hybrid.ts";
import { readActivation } from "./read-activation.ts";
import { readGgufRotation, readRotation } from "./rope-frequencies.ts";

/** What the library's configuration classes differ in. */
export interface QwenHybridDefaults {
  readonly vocabSize: number;
  readonly dModel: number;
  readonly nLayer: number;
  readonly nHead: number;
  readonly nKvHead: number;
}

/** What only a description for llama.cpp needs. */
export interface QwenHybridExtras {
  readonly maxPositions: number;
}

/**
 * All but the feed-forward layers, which differ.
 * @param keyHeads the order of value heads that the model works in
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function readQwenHybrid(
  config: ConfigFields,
  defaults: QwenHybridDefaults,
  keyHeads: DeltaNetShape["keyHeads"],
): Omit<QwenHybridConfig, "modelType" | "feedForwards"> & QwenHybridExtras {
  const dModel = config.count(["hidden_size"], defaults.dModel);
  const nLayer = requireLayers(config.count(["num_hidden_layers"], defaults.nLayer));
  const headDim = config.count(["head_dim"], 256);
  const eps = config.positive(["rms_norm_eps"], 1e-6);
  const act = readActivation(config, ["hidden_act"], "silu");
  const maxPositions = config.count(["max_position_embeddings"], 32768);
  return {
    dModel,
    vocabSize: config.count(["vocab_size"], defaults.vocabSize),
    eps,
    act,
    mixers: readMixers(config, nLayer),
    delta: {
      dModel,
      nKeyHead: config.count(["linear_num_key_heads"], 16),
      nValueHead: config.count(["linear_num_value_heads"], 32),
      headDimK: config.count(["linear_key_head_dim"], 128),
      headDimV: config.count(["linear_value_head_dim"], 128),
      dConv: config.count(["linear_conv_kernel_dim"], 4),
      act,
      eps,
      betaScale: 1,
      keyHeads,
    },
    attention: {
      dModel,
      nHead: config.count(["num_attention_heads"], defaults.nHead),
      nKvHead: config.count(["num_key_value_heads"], defaults.nKvHead),
      headDim,
      bias: config.boolean(["attention_bias"], false),
      eps,
    },
    rotation: readRotation(config, { headDim, partial: 0.25, maxPositions }),
    tied: config.boolean(["tie_word_embeddings"], false),
    maxPositions,
  };
}

/** `layer_types`, or a layer of attention at the end of each `full_attention_interval`. */
function readMixers(config: ConfigFields, nLayer: number): QwenHybridConfig["mixers"] {
  const types = config.strings(["layer_types"]);
  if (types === null) {
    const interval = config.count(["full_attention_interval"], 4);
    return Array.from({ length: nLayer }, (_, i) =>
      (i + 1) % interval === 0 ? "attention" : "delta",
    );
  }
  requireGeometry(
    types.length === nLayer,
    `layer_types names ${types.length} layers, num_hidden_layers ${nLayer}`,
  );
  return types.map((type) => {
    const mixer = LAYER_TYPES.get(type);
    if (mixer === undefined)
      throw config.unsupported("layer_types", '"linear_attention" or "full_attention" a layer');
    return mixer;
  });
}

/** The library's names, new and old. */
const LAYER_TYPES: ReadonlyMap<string, "delta" | "attention"> = new Map([
  ["linear_attention", "delta"],
  ["mamba", "delta"],
  ["conv", "delta"],
  ["full_attention", "attention"],
  ["attention", "attention"],
]);

/**
 * The experts of a configuration; all tokens share one more.
 * @throws WeightsError `malformed`
 */
export function readExperts(
  config: ConfigFields,
  dModel: number,
  defaults: { readonly nExpert: number; readonly topK: number; readonly normalise: boolean },
): Extract<FeedForwardShape, { kind: "experts" }> {
  return {
    kind: "experts",
    moe: {
      dModel,
      dExpert: dModel,
      dFf: config.count(["moe_intermediate_size"], 512),
      nExpert: config.count(["num_experts"], defaults.nExpert),
      topK: config.count(["num_experts_per_tok"], defaults.topK),
      scoring: "softmax",
      choiceBias: false,
      nGroup: 1,
      topKGroup: 1,
      normalise: defaults.normalise,
      scale: 1,
      act: readActivation(config, ["hidden_act"], "silu"),
      gated: true,
    },
    dShared: config.count(["shared_expert_intermediate_size"], 512),
  };
}

/**
 * The configuration in a GGUF file of llama.cpp.
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function readQwenHybridGguf(
  metadata: GgufMetadata,
  tensors: TensorSource,
  architecture: string,
  keyHeads: DeltaNetShape["keyHeads"],
): Omit<QwenHybridConfig, "modelType"> {
  const config = new GgufFields(metadata, architecture);
  // Layers that predict further tokens stand behind the decoder's.
  const nLayer = requireLayers(
    config.count("block_count") -
      (config.has("nextn_predict_layers") ? config.count("nextn_predict_layers") : 0),
  );
  const dModel = config.count("embedding_length");
  const nHead = config.count("attention.head_count");
  const eps = config.positive("attention.layer_norm_rms_epsilon");
  const headDim = config.count("attention.key_length", dModel / nHead);
  const nValueHead = config.count("ssm.time_step_rank");
  const headDimV = config.count("ssm.inner_size") / nValueHead;
  requireGeometry(Number.isInteger(headDimV), `value heads of ${headDimV}`);
  const experts = config.has("expert_count") ? ggufExperts(config, dModel) : null;
  return {
    dModel,
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
    eps,
    act: "silu",
    mixers: Array.from({ length: nLayer }, (_, i) =>
      tensors.has(`blk.${i}.ssm_conv1d.weight`) ? "delta" : "attention",
    ),
    feedForwards: Array.from(
      { length: nLayer },
      () => experts ?? { kind: "mlp", dFf: config.count("feed_forward_length") },
    ),
    delta: {
      dModel,
      nKeyHead: config.count("ssm.group_count"),
      nValueHead,
      headDimK: config.count("ssm.state_size"),
      headDimV,
      dConv: config.count("ssm.conv_kernel"),
      act: "silu",
      eps,
      betaScale: 1,
      keyHeads,
    },
    attention: {
      dModel,
      nHead,
      nKvHead: config.count("attention.head_count_kv", nHead),
      headDim,
      bias: false,
      eps,
    },
    rotation: readGgufRotation(config, headDim),
    tied: !tensors.has("output.weight"),
  };
}

/** llama.cpp divides the chosen experts' weights by their sum, always. */
function ggufExperts(config: GgufFields, dModel: number): FeedForwardShape {
  const dFf = config.count("expert_feed_forward_length");
  return {
    kind: "experts",
    moe: {
      dModel,
      dExpert: dModel,
      dFf,
      nExpert: config.count("expert_count"),
      topK: config.count("expert_used_count"),
      scoring: "softmax",
      choiceBias: false,
      nGroup: 1,
      topKGroup: 1,
      normalise: true,
      scale: config.positive("expert_weights_scale", 1),
      act: "silu",
      gated: true,
    },
    dShared: config.count("expert_shared_feed_forward_length", dFf),
  };
}

/**
 * What llama.cpp needs to know; undefined where it has no such model: other layer patterns, biases, activations, rotations,
 * heads of two widths, layers with and without experts.
 */
export function describeQwenHybrid(
  c: QwenHybridConfig & QwenHybridExtras,
  architecture: string,
  more: GgufDescription["fields"] = {},
): GgufDescription | undefined {
  const { delta, attention, mixers, feedForwards } = c;
  const interval = mixers.indexOf("attention") + 1;
  const regular =
    interval > 0 &&
    mixers.every((mixer, i) => (mixer === "attention") === ((i + 1) % interval === 0));
  const [feedForward] = feedForwards;
  const rope = c.rotation.gguf;
  if (
    !regular ||
    feedForward === undefined ||
    !feedForwards.every(({ kind }) => kind === feedForward.kind) ||
    delta.headDimK !== delta.headDimV ||
    attention.bias ||
    c.act !== "silu" ||
    // Of an odd number of columns llama.cpp turns one less.
    rope?.["rope.dimension_count"] !== 2 * c.rotation.frequencies.length
  )
    return undefined;
  return {
    architecture,
    fields: {
      block_count: mixers.length,
      context_length: c.maxPositions,
      embedding_length: c.dModel,
      "attention.head_count": attention.nHead,
      "attention.head_count_kv": attention.nKvHead,
      "attention.key_length": attention.headDim,
      "attention.value_length": attention.headDim,
      "attention.layer_norm_rms_epsilon": c.eps,
      ...rope,
      full_attention_interval: interval,
      "ssm.conv_kernel": delta.dConv,
      "ssm.state_size": delta.headDimK,
      "ssm.group_count": delta.nKeyHead,
      "ssm.time_step_rank": delta.nValueHead,
      "ssm.inner_size": delta.nValueHead * delta.headDimV,
      ...feedForwardFields(feedForward),
      ...more,
    },
  };
}

function feedForwardFields(shape: FeedForwardShape): GgufDescription["fields"] {
  if (shape.kind === "mlp") return { feed_forward_length: shape.dFf };
  const { dFf, nExpert, topK } = shape.moe;
  return {
    feed_forward_length: dFf,
    expert_count: nExpert,
    expert_used_count: topK,
    expert_feed_forward_length: dFf,
    expert_shared_feed_forward_length: shape.dShared,
  };
}
