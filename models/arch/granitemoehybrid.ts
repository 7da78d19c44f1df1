/**
 * Granite 4: Mamba-2 and attention layers, each followed by an MLP and, in most models, by a mixture of experts beside
 * it; multipliers on embedding, residuals, attention scores and logits. Source: transformers
 * `modeling_granitemoehybrid.py` (IBM, 2025; multipliers after Yang et al. 2022, arXiv:2203.03466); for GGUF llama.cpp,
 * which calls it `granitehybrid`, as it does Bamba.
 *
 * T tokens of each of B sequences lie as B * T rows.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
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
  type RunOptions,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  neighbourOrder,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import {
  ggufKnowsMamba2Mixer,
  ggufMamba2Fields,
  readGgufMamba2Fields,
  readMamba2Fields,
} from "./blocks/mamba2-fields.ts";
import {
  dInnerOf,
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
  type Mamba2MixerShape,
  type Mamba2MixerWeights,
} from "./blocks/mamba2-mixer.ts";
import { loadMlp, mlp, type MlpNames, type MlpWeights } from "./blocks/mlp.ts";
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
import { readGgufRotation, readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface GraniteConfig {
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

interface LayerWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly mixer:
    | { readonly kind: "mamba"; readonly weights: Mamba2MixerWeights }
    | { readonly kind: "attention"; readonly weights: AttentionWeights };
  readonly feedForwardNorm: Weight; //(1, dModel)
  readonly experts: MoeWeights | null;
  readonly mlp: MlpWeights;
}

interface GraniteWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly rotation: RotationWeights | null;
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer: a mixer, then experts and MLP side by side; each after a norm, each with a scaled residual. */
function graniteLayer(
  k: Recorder,
  c: GraniteConfig,
  w: LayerWeights,
  rotation: RotationWeights | null,
  layer: number,
  phase: RunOptions["phase"],
  x: Tensor,
): Tensor {
  const { act, eps } = c;
  const first = k.state(2 * layer);
  const second = k.state(2 * layer + 1);
  const addTo = (stream: Tensor, part: Tensor): Tensor =>
    scaledAdd(k, { a: stream, b: part, bScale: c.multipliers.residual });
  const normed = rmsNorm(k, { x, weight: w.norm, eps }); // (B * T, dModel)
  // (B * T, dModel)
  const mixed =
    w.mixer.kind === "mamba"
      ? mamba2Mixer(k, c.mamba, w.mixer.weights, { conv: first, ssm: second }, normed, { phase })
      : attentionLayer(
          k,
          c.attention,
          w.mixer.weights,
          rotation,
          { keys: first, values: second },
          normed,
        );
  const stream = addTo(x, mixed); // (B * T, dModel)
  const fed = rmsNorm(k, { x: stream, weight: w.feedForwardNorm, eps }); // (B * T, dModel)
  const chosen =
    c.experts === null || w.experts === null ? null : moe(k, c.experts, w.experts, fed);
  return addTo(stream, mlp(k, w.mlp, fed, { act, residual: chosen })); // (B * T, dModel)
}

function recordGranite(c: GraniteConfig, w: GraniteWeights): RecordRun {
  const { multipliers } = c;
  return (k, { logits, phase }) => {
    let x = scaledAdd(k, { a: embedding(k, w.embedding), aScale: multipliers.embedding }); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      x = graniteLayer(k, c, layer, w.rotation, i, phase, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    const scaled = scaledAdd(k, { a: normed, aScale: multipliers.logits });
    linear(k, scaled, w.head, { into: k.output(scaled.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** Two slots a layer, whatever it is. */
function stateLayout(c: GraniteConfig): StateLayout {
  return c.layers.flatMap((kind, i) =>
    kind === "mamba"
      ? mamba2MixerSlots(`layers.${i}`, c.mamba)
      : attentionLayerSlots(`layers.${i}`, c.attention),
  );
}

/** What the files call the weights outside of the mixers. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    layerNorm: "input_layernorm.weight",
    mamba: "mamba.",
    feedForwardNorm: "post_attention_layernorm.weight",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    layerNorm: "attn_norm.weight",
    mamba: "",
    feedForwardNorm: "ffn_norm.weight",
  },
} as const;

/** Beside experts llama.cpp calls the MLP another name. */
function mlpNames(from: WeightLoader, at: string, besideExperts: boolean): MlpNames {
  if (from.format === "safetensors")
    return {
      gateUp: `${at}shared_mlp.input_linear`,
      down: `${at}shared_mlp.output_linear`,
    };
  const suffix = besideExperts ? "_shexp" : "";
  return {
    gateUp: [`${at}ffn_gate${suffix}`, `${at}ffn_up${suffix}`],
    down: `${at}ffn_down${suffix}`,
  };
}

/** Hugging Face keeps gate and up of an expert one below the other. */
function expertNames(from: WeightLoader, at: string, { nExpert, dFf }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const half = (which: number): MoeNames["up"] =>
    eachExpert(nExpert, (expert) => ({
      name: `${at}block_sparse_moe.input_linear.weight`,
      firstRow: (2 * expert + which) * dFf,
      rows: dFf,
    }));
  return {
    router: `${at}block_sparse_moe.router.layer.weight`,
    choiceBias: "",
    gate: half(0),
    up: half(1),
    down: `${at}block_sparse_moe.output_linear.weight`,
  };
}

async function loadLayer(
  c: GraniteConfig,
  from: WeightLoader,
  i: number,
  kind: "mamba" | "attention",
): Promise<LayerWeights> {
  const { dModel, dFf, mlpBias: bias, experts } = c;
  const name = NAMES[from.format];
  const at = name.layer(i);
  return {
    norm: await from.vector(at + name.layerNorm, 1, dModel),
    mixer:
      kind === "mamba"
        ? { kind, weights: await loadMamba2Mixer(from, at + name.mamba, c.mamba) }
        : {
            kind,
            weights: await loadAttention(from, at, ATTENTION_NAMES[from.format], c.attention),
          },
    feedForwardNorm: await from.vector(at + name.feedForwardNorm, 1, dModel),
    experts: experts === null ? null : await loadMoe(from, expertNames(from, at, experts), experts),
    mlp: await loadMlp(from, mlpNames(from, at, experts !== null), { dModel, dFf, bias }),
  };
}

async function loadWeights(c: GraniteConfig, from: WeightLoader): Promise<GraniteWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const rotation = c.rotation === null ? null : await loadRotation(from, c.rotation, "neighbours");
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layers.entries()) layers.push(await loadLayer(c, from, i, kind));
  return {
    embedding: embeddingTable,
    rotation,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

/** How llama.cpp describes the same model, or null where it has no words for it. */
function ggufDescription(c: GraniteConfig): GgufDescription | null {
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
  };
}

function model(c: GraniteConfig): Model {
  requireMamba2Mixer(c.mamba);
  requireHeads(c.attention);
  if (c.experts !== null) requireExperts(c.experts);
  const gguf = ggufDescription(c);
  return {
    modelType: "granitemoehybrid",
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordGranite(c, await loadWeights(c, loader)),
  };
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

function fromConfig(json: JsonObject): Model {
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
  return model({
    layers: readLayers(config),
    dModel,
    vocabSize: config.count(["vocab_size"], 32_000),
    maxPositions,
    eps,
    act,
    mamba: readMamba2Fields(config, { dModel, eps, act }),
    attention: {
      dIn: dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.count(["num_key_value_heads"], nHead),
      headDim,
      scale: config.number(["attention_multiplier"], 1),
      softCap: null,
      window: null,
      qkvBias: attentionBias,
      outBias: attentionBias,
      qkNorm: null,
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
  });
}

/** `model_type` "granitemoehybrid"; in GGUF "granitehybrid", which Bamba is there too. */
export const graniteMoeHybrid: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "granitehybrid");
    const { gguf } = NAMES;
    const nLayer = requireLayers(config.count("block_count"));
    const dModel = config.count("embedding_length");
    const eps = config.positive("attention.layer_norm_rms_epsilon");
    const nHead = config.count("attention.head_count");
    const headDim = config.count("attention.key_length", Math.floor(dModel / nHead));
    const nKvHeads = config.perLayer("attention.head_count_kv", nLayer);
    const layers = nKvHeads.map((heads) => (heads > 0 ? "attention" : "mamba"));
    const at = (kind: "mamba" | "attention"): string => gguf.layer(layers.indexOf(kind));
    const nExpert = config.count("expert_count", 0);
    const dFf = config.count("feed_forward_length");
    return model({
      layers,
      dModel,
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      maxPositions: config.count("context_length", 2 ** 20),
      eps,
      act: "silu",
      mamba: readGgufMamba2Fields(config, tensors, { dModel, eps, at: at("mamba") }),
      attention: {
        dIn: dModel,
        dOut: dModel,
        nHead,
        nKvHead: Math.max(1, ...nKvHeads),
        headDim,
        scale: config.positive("attention.scale", headDim ** -0.5),
        softCap: null,
        window: null,
        qkvBias: tensors.has(`${at("attention")}attn_q.bias`),
        outBias: tensors.has(`${at("attention")}attn_output.bias`),
        qkNorm: null,
      },
      rotation:
        config.has("rope.scaling.finetuned") && !config.flag("rope.scaling.finetuned")
          ? null
          : readGgufRotation(config, headDim),
      dFf: nExpert === 0 ? dFf : config.count("expert_shared_feed_forward_length"),
      mlpBias: tensors.has(`${gguf.layer(0)}ffn_down.bias`),
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
      tied: !tensors.has(gguf.head),
    });
  },
};
