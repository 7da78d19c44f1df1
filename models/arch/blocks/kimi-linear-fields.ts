/** The configuration of Kimi Linear, from Hugging Face's fields and from llama.cpp's. */
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { GgufMetadata } from "../../weights/gguf-metadata.ts";
import type { JsonObject } from "../../weights/json.ts";
import type { TensorSource } from "../../weights/source.ts";
import { requireGeometry, requireLayers, type GgufDescription } from "../architecture.ts";
import { ConfigFields } from "../config-fields.ts";
import { GgufFields } from "../gguf-fields.ts";
import type { KimiDeltaShape } from "./kimi-delta-attention.ts";
import type { LatentAttentionShape } from "./latent-attention.ts";
import type { MoeShape } from "./moe.ts";
import { readActivation } from "./read-activation.ts";

export interface KimiLinearConfig {
  readonly dModel: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly act: Activation;
  /** Of each layer. */
  readonly mixers: readonly ("delta" | "attention")[];
  /** Of each layer. */
  readonly feedForwards: readonly ("mlp" | "experts")[];
  readonly delta: KimiDeltaShape;
  readonly attention: LatentAttentionShape;
  /** Columns within an MLP. */
  readonly dFf: number;
  readonly moe: MoeShape;
  /** Columns within the expert that all tokens share; 0 for none. */
  readonly dShared: number;
  /** The head is the embedding. */
  readonly tied: boolean;
}

/** What only a description for llama.cpp needs. */
export interface KimiLinearExtras {
  readonly maxPositions: number;
}

/** `layer_types`, or the published files' lists (counted from 1), or attention in every fourth layer but the first. */
function readMixers(config: ConfigFields, nLayer: number): KimiLinearConfig["mixers"] {
  const types = config.strings(["layer_types"]);
  if (types !== null) {
    requireGeometry(types.length === nLayer, `${types.length} layer_types for ${nLayer} layers`);
    return types.map((type) => (type === "full_attention" ? "attention" : "delta"));
  }
  const linearAttention = config.object(["linear_attn_config"]);
  const full = linearAttention?.numbers(["full_attn_layers"]) ?? null;
  const delta = linearAttention?.numbers(["kda_layers"]) ?? null;
  const each = Array.from({ length: nLayer }, (_, i) => i);
  if (full === null || delta === null)
    return each.map((i) => (i > 0 && i % 4 === 0 ? "attention" : "delta"));
  return each.map((i) => {
    requireGeometry(
      full.includes(i + 1) || delta.includes(i + 1),
      `linear_attn_config has no layer ${i + 1}`,
    );
    return delta.includes(i + 1) ? "delta" : "attention";
  });
}

/** `mlp_layer_types`, or MLPs in the first layers. */
function readFeedForwards(config: ConfigFields, nLayer: number): KimiLinearConfig["feedForwards"] {
  const types = config.strings(["mlp_layer_types"]);
  if (types === null) {
    const dense = config.whole(["first_k_dense_replace"], 1);
    return Array.from({ length: nLayer }, (_, i) => (i < dense ? "mlp" : "experts"));
  }
  requireGeometry(types.length === nLayer, `${types.length} mlp_layer_types for ${nLayer} layers`);
  return types.map((type) => (type === "sparse" ? "experts" : "mlp"));
}

/**
 * The configuration of config.json.
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function readKimiLinear(json: JsonObject): KimiLinearConfig & KimiLinearExtras {
  const config = new ConfigFields(json);
  const nested = config.object(["linear_attn_config"]);
  const deltaField = (inner: string, outer: string, fallback: number): number =>
    nested?.has(inner) === true ? nested.count([inner]) : config.count([outer], fallback);
  const dModel = config.count(["hidden_size"], 2304);
  const nLayer = requireLayers(config.count(["num_hidden_layers"], 27));
  const nHead = config.count(["num_attention_heads"], 32);
  if (config.count(["num_key_value_heads"], nHead) !== nHead)
    throw config.unsupported("num_key_value_heads", `num_attention_heads, ${nHead}`);
  const eps = config.positive(["rms_norm_eps"], 1e-5);
  const act = readActivation(config, ["hidden_act"], "silu");
  const dExpertFf = config.count(["moe_intermediate_size"], 1024);
  return {
    dModel,
    vocabSize: config.count(["vocab_size"], 163840),
    eps,
    act,
    mixers: readMixers(config, nLayer),
    feedForwards: readFeedForwards(config, nLayer),
    delta: {
      dModel,
      nHead: deltaField("num_heads", "linear_num_heads", 32),
      headDim: deltaField("head_dim", "linear_head_dim", 128),
      dConv: deltaField("short_conv_kernel_size", "linear_conv_kernel_dim", 4),
      act,
      eps,
    },
    attention: {
      dModel,
      nHead,
      rank: config.count(["kv_lora_rank"], 512),
      queryRank: config.has("q_lora_rank") ? config.count(["q_lora_rank"]) : null,
      headDimLatent: config.count(["qk_nope_head_dim"], 128),
      headDimShared: config.count(["qk_rope_head_dim"], 64),
      headDimV: config.count(["v_head_dim"], 128),
      bias: config.boolean(["attention_bias"], false),
    },
    dFf: config.count(["intermediate_size"], 9216),
    moe: {
      dModel,
      dExpert: dModel,
      dFf: dExpertFf,
      nExpert: config.count(["num_experts", "num_local_experts"], 256),
      topK: config.count(["num_experts_per_token", "num_experts_per_tok"], 8),
      scoring: "sigmoid",
      choiceBias: true,
      nGroup: config.count(["num_expert_group", "n_group"], 1),
      topKGroup: config.count(["topk_group"], 1),
      normalise: config.boolean(["moe_renormalize", "norm_topk_prob"], true),
      scale: config.number(["routed_scaling_factor"], 2.446),
      act,
      gated: true,
    },
    dShared: dExpertFf * config.whole(["num_shared_experts", "n_shared_experts"], 1),
    tied: config.boolean(["tie_word_embeddings"], false),
    maxPositions: config.count(["model_max_length", "max_position_embeddings"], 1048576),
  };
}

/**
 * The configuration in a GGUF file of llama.cpp.
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function readKimiLinearGguf(
  metadata: GgufMetadata,
  tensors: TensorSource,
): KimiLinearConfig {
  const config = new GgufFields(metadata, GGUF_ARCHITECTURE);
  const nLayer = requireLayers(config.count("block_count"));
  const dModel = config.count("embedding_length");
  const nHead = config.count("attention.head_count");
  const eps = config.positive("attention.layer_norm_rms_epsilon");
  const dExpertFf = config.count("expert_feed_forward_length");
  const dense = config.has("leading_dense_block_count")
    ? config.perLayer("leading_dense_block_count", 1)
    : [0];
  const shared = config.perLayer("expert_shared_count", 1);
  const headDimShared = config.count("rope.dimension_count");
  const headDimLatent = config.count("attention.key_length_mla") - headDimShared;
  requireGeometry(headDimLatent >= 1, `${headDimLatent} columns of a key from latent vectors`);
  if (config.count("expert_gating_func", SIGMOID) !== SIGMOID)
    throw config.unsupported("expert_gating_func", `${SIGMOID}, a sigmoid`);
  return {
    dModel,
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
    eps,
    act: "silu",
    mixers: config
      .perLayer("attention.head_count_kv", nLayer)
      .map((nKvHead) => (nKvHead === 0 ? "delta" : "attention")),
    feedForwards: Array.from({ length: nLayer }, (_, i) =>
      i < (dense[0] ?? 0) ? "mlp" : "experts",
    ),
    delta: {
      dModel,
      nHead,
      headDim: config.count("kda.head_dim"),
      dConv: config.count("ssm.conv_kernel"),
      act: "silu",
      eps,
    },
    attention: {
      dModel,
      nHead,
      rank: config.count("attention.kv_lora_rank"),
      queryRank: config.has("attention.q_lora_rank") ? config.count("attention.q_lora_rank") : null,
      headDimLatent,
      headDimShared,
      headDimV: config.count("attention.value_length_mla"),
      bias: false,
    },
    dFf: config.count("feed_forward_length", dModel),
    moe: {
      dModel,
      dExpert: dModel,
      dFf: dExpertFf,
      nExpert: config.count("expert_count"),
      topK: config.count("expert_used_count"),
      scoring: "sigmoid",
      choiceBias: true,
      nGroup: config.count("expert_group_count", 1),
      topKGroup: config.count("expert_group_used_count", 1),
      // llama.cpp divides the chosen experts' weights by their sum, always.
      normalise: true,
      scale: config.positive("expert_weights_scale", 1),
      act: "silu",
      gated: true,
    },
    dShared: dExpertFf * (shared[0] ?? 0),
    tied: !tensors.has("output.weight"),
  };
}

/**
 * What llama.cpp needs to know; undefined where it has no such model: MLPs elsewhere than in the first layers, biases,
 * other activations, tied heads, queries of low rank, heads of the two kinds of attention in different numbers.
 */
export function describeKimiLinear(
  c: KimiLinearConfig & KimiLinearExtras,
): GgufDescription | undefined {
  const { attention, delta, moe: experts } = c;
  const { rank, queryRank, headDimLatent, headDimShared, headDimV } = attention;
  const dense = c.feedForwards.filter((kind) => kind === "mlp").length;
  if (
    c.feedForwards.lastIndexOf("mlp") !== dense - 1 ||
    c.tied ||
    c.act !== "silu" ||
    attention.bias ||
    queryRank !== null ||
    attention.nHead !== delta.nHead ||
    !experts.normalise ||
    c.dShared === 0
  )
    return undefined;
  const conv = [delta.nHead * delta.headDim, 1, delta.dConv];
  return {
    architecture: GGUF_ARCHITECTURE,
    fields: {
      block_count: c.mixers.length,
      context_length: c.maxPositions,
      embedding_length: c.dModel,
      feed_forward_length: c.dFf,
      "attention.head_count": attention.nHead,
      // llama.cpp takes a layer without key heads for a recurrent one; the latent vectors are one key head.
      "attention.head_count_kv": c.mixers.map((mixer) => (mixer === "attention" ? 1 : 0)),
      "attention.layer_norm_rms_epsilon": c.eps,
      "attention.key_length": rank + headDimShared,
      "attention.value_length": rank,
      "attention.key_length_mla": headDimLatent + headDimShared,
      "attention.value_length_mla": headDimV,
      "attention.kv_lora_rank": rank,
      "rope.dimension_count": headDimShared,
      "ssm.conv_kernel": delta.dConv,
      "kda.head_dim": delta.headDim,
      leading_dense_block_count: dense,
      expert_count: experts.nExpert,
      expert_used_count: experts.topK,
      expert_feed_forward_length: experts.dFf,
      expert_shared_count: c.dShared / experts.dFf,
      expert_weights_scale: experts.scale,
      expert_weights_norm: experts.normalise,
      expert_gating_func: SIGMOID,
      expert_group_count: experts.nGroup,
      expert_group_used_count: experts.topKGroup,
    },
    shapes: {
      "ssm_conv1d_q.weight": conv,
      "ssm_conv1d_k.weight": conv,
      "ssm_conv1d_v.weight": conv,
      ssm_a: [delta.nHead, 1],
      "attn_k_b.weight": [attention.nHead, rank, headDimLatent],
      "attn_v_b.weight": [attention.nHead, headDimV, rank],
    },
  };
}

const GGUF_ARCHITECTURE = "kimi-linear";
/** llama.cpp's number of the router's function. */
const SIGMOID = 2;
