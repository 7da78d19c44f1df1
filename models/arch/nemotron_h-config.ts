/** What describes a Nemotron-H, from config.json and from GGUF metadata, and how llama.cpp describes it. */
import type { Activation } from "../../kernels/spec/activations.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";
import type { JsonObject } from "../weights/json.ts";
import type { TensorSource } from "../weights/source.ts";
import { requireGeometry, requireLayers, type GgufDescription } from "./architecture.ts";
import { plainAttention, type AttentionShape } from "./blocks/attention.ts";
import {
  ggufKnowsMamba2Mixer,
  ggufMamba2Fields,
  ggufMamba2Shapes,
  readGgufMamba2Fields,
} from "./blocks/mamba2-fields.ts";
import type { Mamba2MixerShape } from "./blocks/mamba2-mixer.ts";
import type { MoeShape } from "./blocks/moe.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";

export type LayerKind = "mamba" | "attention" | "mlp" | "moe";

export interface NemotronHConfig {
  readonly layers: readonly LayerKind[];
  readonly dModel: number;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly eps: number;
  readonly mamba: Mamba2MixerShape;
  readonly attention: AttentionShape;
  readonly act: Activation;
  /** Of the MLPs and of the projections around the experts. */
  readonly mlpBias: boolean;
  /** Columns within an MLP. */
  readonly dFf: number;
  /** Columns within the MLP beside the experts. */
  readonly dShared: number;
  readonly experts: MoeShape;
  /** The experts work on a projection to `experts.dExpert` columns. */
  readonly latent: boolean;
  /** The head is the embedding where the file has no other. */
  readonly tied: boolean;
}

/** @throws WeightsError `missing`, `malformed`, `unsupported` */
export function readConfig(json: JsonObject): NemotronHConfig {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 4096);
  const eps = config.positive(["layer_norm_epsilon"], 1e-5);
  const nHead = config.count(["num_attention_heads"], 32);
  const nMambaHead = config.count(["mamba_num_heads"], 128);
  const mambaHeadDim = config.count(["mamba_head_dim"], 64);
  const nGroup = config.count(["mamba_n_groups", "n_groups"], 8);
  const act = readActivation(config, ["mlp_hidden_act"], "relu2");
  return {
    layers: readLayers(config),
    dModel,
    vocabSize: config.count(["vocab_size"], 131_072),
    maxPositions: config.count(["max_position_embeddings"], 4096),
    eps,
    mamba: {
      dModel,
      nHead: nMambaHead,
      headDim: mambaHeadDim,
      nGroup,
      dState: config.count(["ssm_state_size"], 128),
      dConv: config.count(["mamba_d_conv", "conv_kernel"], 4),
      chunkSize: config.count(["mamba_chunk_size", "chunk_size"], 128),
      projectionBias: config.boolean(["use_bias"], false),
      convBias: config.boolean(["mamba_conv_bias", "use_conv_bias"], true),
      act: readActivation(config, ["mamba_hidden_act"], "silu"),
      // Not `time_step_limit`: the library takes the lower limit from here, and none above.
      dtLimit: [config.number(["mamba_dt_min", "time_step_min"], 0.001), Infinity],
      output: "gate-norm",
      normEps: eps,
      normGroupSize: Math.floor((nMambaHead * mambaHeadDim) / nGroup),
    },
    // Neither `attention_bias` nor `sliding_window` is looked at.
    attention: plainAttention({
      dModel,
      nHead,
      // null means one for each query head; 8 is the default of a field that is not there.
      nKvHead: config.isNull("num_key_value_heads")
        ? nHead
        : config.count(["num_key_value_heads"], 8),
      headDim: config.count(["head_dim", "attention_head_dim"], 128),
    }),
    act,
    mlpBias: config.boolean(["mlp_bias"], false),
    dFf: config.count(["intermediate_size"], 21_504),
    dShared: config.count(["moe_shared_expert_intermediate_size"], 7688),
    latent: config.has("moe_latent_size"),
    experts: {
      dModel,
      dExpert: config.count(["moe_latent_size"], dModel),
      dFf: config.count(["moe_intermediate_size"], 7688),
      nExpert: config.count(["n_routed_experts", "num_local_experts"], 8),
      topK: config.count(["num_experts_per_tok"], 2),
      scoring: "sigmoid",
      choiceBias: true,
      nGroup: config.count(["n_group"], 1),
      topKGroup: config.count(["topk_group"], 1),
      normalise: config.boolean(["norm_topk_prob"], true),
      scale: config.number(["routed_scaling_factor"], 1),
      act,
      gated: false,
    },
    tied: config.boolean(["tie_word_embeddings"], false),
  };
}

const KINDS: ReadonlyMap<string, LayerKind> = new Map<string, LayerKind>([
  ["linear_attention", "mamba"],
  ["mamba", "mamba"],
  ["M", "mamba"],
  ["full_attention", "attention"],
  ["attention", "attention"],
  ["*", "attention"],
  ["mlp", "mlp"],
  ["-", "mlp"],
  ["moe", "moe"],
  ["E", "moe"],
]);

/** A list of kinds, or a text with a letter for each; `num_hidden_layers` does not count beside them. */
function readLayers(config: ConfigFields): readonly LayerKind[] {
  const listed = config.strings(["layers_block_type", "layer_types"]);
  const names =
    listed ??
    (config.has("hybrid_override_pattern")
      ? Array.from(config.string(["hybrid_override_pattern"]))
      : ["M", "E", "*", "-"]);
  requireLayers(names.length);
  return names.map((name) => {
    const kind = KINDS.get(name);
    if (kind !== undefined) return kind;
    throw config.unsupported(
      listed === null ? "hybrid_override_pattern" : "layers_block_type",
      [...KINDS.keys()].join(", "),
    );
  });
}

/** @throws WeightsError `missing`, `malformed` */
export function readGgufConfig(metadata: GgufMetadata, tensors: TensorSource): NemotronHConfig {
  const withExperts = metadata.get("general.architecture") === "nemotron_h_moe";
  const config = new GgufFields(metadata, withExperts ? "nemotron_h_moe" : "nemotron_h");
  // Behind the layers some files keep a head that foretells further tokens; it takes no part in the next one's logits.
  const nStored = requireLayers(config.count("block_count"));
  const nLayer = nStored - config.whole("nextn_predict_layers", 0);
  requireGeometry(nLayer >= 1, `${nLayer} layers`);
  const dModel = config.count("embedding_length");
  const eps = config.has("attention.layer_norm_rms_epsilon")
    ? config.positive("attention.layer_norm_rms_epsilon")
    : config.positive("attention.layer_norm_epsilon");
  const nHead = config.count("attention.head_count");
  const nKvHeads = config.perLayer("attention.head_count_kv", nStored).slice(0, nLayer);
  const widths = config.perLayer("feed_forward_length", nStored);
  const layers = nKvHeads.map((heads, i): LayerKind => {
    if ((widths[i] ?? 0) > 0) return tensors.has(`blk.${i}.ffn_gate_inp.weight`) ? "moe" : "mlp";
    return heads > 0 ? "attention" : "mamba";
  });
  const at = (kind: LayerKind): string => `blk.${layers.indexOf(kind)}.`;
  const dFf = Math.max(1, ...widths);
  const mamba = readGgufMamba2Fields(config, tensors, { dModel, eps, at: at("mamba") });
  return {
    layers,
    dModel,
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
    maxPositions: config.count("context_length", 2 ** 20),
    eps,
    mamba: {
      ...mamba,
      dtLimit: [config.has(DT_MIN) ? config.positive(DT_MIN) : 0, Infinity],
    },
    attention: plainAttention({
      dModel,
      nHead,
      nKvHead: Math.max(1, ...nKvHeads),
      headDim: config.count("attention.key_length", Math.floor(dModel / nHead)),
    }),
    act: "relu2",
    mlpBias: tensors.has(`${at("mlp")}ffn_up.bias`),
    dFf,
    dShared: config.count("expert_shared_feed_forward_length", dFf),
    latent: config.has("moe_latent_size"),
    experts: {
      dModel,
      dExpert: config.count("moe_latent_size", dModel),
      dFf: config.count("expert_feed_forward_length", dFf),
      nExpert: Math.max(1, config.whole("expert_count", 1)),
      topK: Math.max(1, config.whole("expert_used_count", 1)),
      scoring: "sigmoid",
      choiceBias: true,
      nGroup: config.count("expert_group_count", 1),
      topKGroup: config.count("expert_group_used_count", 1),
      normalise: config.flag("expert_weights_norm"),
      scale: config.positive("expert_weights_scale", 1),
      act: "relu2",
      gated: false,
    },
    tied: !tensors.has("output.weight"),
  };
}

/** A field of our own: the lower limit of dt in prompts, of which llama.cpp does not know. */
const DT_MIN = "ssm.time_step_min";

/** How llama.cpp describes the same model, or null where it has no words for it. */
export function ggufDescription(c: NemotronHConfig): GgufDescription | null {
  const { layers, mamba, attention, experts } = c;
  const withExperts = layers.includes("moe");
  const known =
    ggufKnowsMamba2Mixer({ ...mamba, dtLimit: [0, Infinity] }) &&
    c.act === "relu2" &&
    // Where there are experts, all feed-forward layers have them, and no biases.
    !(withExperts && (layers.includes("mlp") || c.mlpBias));
  if (!known) return null;
  const of = (kinds: readonly LayerKind[], value: number): readonly number[] =>
    layers.map((kind) => (kinds.includes(kind) ? value : 0));
  return {
    architecture: withExperts ? "nemotron_h_moe" : "nemotron_h",
    fields: {
      block_count: layers.length,
      context_length: c.maxPositions,
      embedding_length: c.dModel,
      // Neither key heads nor feed-forward columns: a Mamba layer.
      feed_forward_length: of(["mlp", "moe"], withExperts ? experts.dFf : c.dFf),
      "attention.head_count": attention.nHead,
      "attention.head_count_kv": of(["attention"], attention.nKvHead),
      "attention.key_length": attention.headDim,
      "attention.value_length": attention.headDim,
      // llama.cpp asks for the first, and uses the second.
      "attention.layer_norm_epsilon": c.eps,
      "attention.layer_norm_rms_epsilon": c.eps,
      ...ggufMamba2Fields(mamba),
      [DT_MIN]: mamba.dtLimit[0],
      ...(withExperts ? ggufExpertFields(c) : {}),
    },
    shapes: ggufMamba2Shapes(mamba),
  };
}

function ggufExpertFields({
  dShared,
  latent,
  experts,
}: NemotronHConfig): GgufDescription["fields"] {
  return {
    expert_count: experts.nExpert,
    expert_used_count: experts.topK,
    expert_feed_forward_length: experts.dFf,
    expert_shared_feed_forward_length: dShared,
    expert_shared_count: 1,
    expert_weights_norm: experts.normalise,
    expert_weights_scale: experts.scale,
    expert_group_count: experts.nGroup,
    expert_group_used_count: experts.topKGroup,
    ...(latent ? { moe_latent_size: experts.dExpert } : {}),
  };
}
