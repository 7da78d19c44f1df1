/** What describes a Jamba, from config.json and from GGUF metadata, and how llama.cpp describes it. `[1]` is arXiv:2403.19887. */
import type { Activation } from "../../kernels/spec/activations.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";
import type { JsonObject } from "../weights/json.ts";
import type { TensorSource } from "../weights/source.ts";
import { requireGeometry, requireLayers, type GgufDescription } from "./architecture.ts";
import { plainAttention, type AttentionShape } from "./blocks/attention.ts";
import type { MambaMixerShape } from "./blocks/mamba-mixer.ts";
import type { MoeShape } from "./blocks/moe.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";

/** What stands in a layer: `[1]` §3.1, fig. 2. */
export interface LayerKind {
  readonly mixer: "mamba" | "attention";
  readonly feedForward: "mlp" | "experts";
}

export interface JambaConfig {
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

/** @throws WeightsError `missing`, `malformed`, `unsupported` */
export function readConfig(json: JsonObject): JambaConfig {
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
  return {
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
  };
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

/** @throws WeightsError `missing`, `malformed` */
export function readGgufConfig(metadata: GgufMetadata, tensors: TensorSource): JambaConfig {
  const config = new GgufFields(metadata, "jamba");
  const nLayer = requireLayers(config.count("block_count"));
  const dModel = config.count("embedding_length");
  const dFf = config.count("feed_forward_length");
  const eps = config.positive("attention.layer_norm_rms_epsilon");
  const nHead = config.count("attention.head_count");
  const nKvHeads = config.perLayer("attention.head_count_kv", nLayer);
  const layers = nKvHeads.map((heads, i): LayerKind => ({
    mixer: heads > 0 ? "attention" : "mamba",
    feedForward: tensors.has(`blk.${i}.ffn_gate_inp.weight`) ? "experts" : "mlp",
  }));
  const firstMamba = `blk.${layers.findIndex(({ mixer }) => mixer === "mamba")}.`;
  return {
    layers,
    dModel,
    dFf,
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
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
    tied: !tensors.has("output.weight"),
  };
}

/** How llama.cpp describes a model; null for what it does not know. */
export function ggufDescription(c: JambaConfig): GgufDescription | null {
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
