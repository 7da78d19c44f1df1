/**
 * MiniMax-Text-01: lightning attention, full attention, experts in every layer. Sources: MiniMax 2025 (arXiv:2501.08313),
 * [1]; transformers `modeling_minimax.py`; for GGUF llama.cpp, which calls it `minimax-01`.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import {
  MAX_LAYERS,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import {
  lightningAttention,
  lightningSlot,
  loadLightning,
  type LightningShape,
  type LightningWeights,
} from "./blocks/lightning-attention.ts";
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

type LayerType = "linear_attention" | "full_attention";

/** residual · alpha + output · beta, the residual being the *normed* input. [1] §2.2.2 */
interface ResidualFactors {
  readonly alpha: number;
  readonly beta: number;
}

interface MiniMaxConfig {
  readonly layerTypes: readonly LayerType[];
  readonly dModel: number;
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  readonly experts: MoeShape;
  readonly act: Activation;
  readonly residual: Readonly<Record<LayerType | "mlp", ResidualFactors>>;
  readonly vocabSize: number;
  readonly eps: number;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface LayerWeights {
  readonly attentionNorm: Weight; // (1, dModel)
  readonly attention:
    | { readonly kind: "linear_attention"; readonly weights: LightningWeights }
    | { readonly kind: "full_attention"; readonly weights: AttentionWeights };
  readonly expertsNorm: Weight; //   (1, dModel)
  readonly experts: MoeWeights;
}

interface MiniMaxWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights;
}

/** Attention of one kind or the other, then experts. [1] §2.2, fig. 3. */
function layerBlock(
  k: Recorder,
  c: MiniMaxConfig,
  w: LayerWeights,
  rotation: RotationWeights,
  slot: number,
  x: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x, weight: w.attentionNorm, eps: c.eps }); // (B * T, dModel)
  const { kind } = w.attention;
  const mixed =
    w.attention.kind === "linear_attention"
      ? lightningAttention(k, lightningShape(c), w.attention.weights, k.state(slot), normed)
      : attentionLayer(
          k,
          c.attention,
          w.attention.weights,
          rotation,
          { keys: k.state(slot), values: k.state(slot + 1) },
          normed,
        ); // (B * T, dModel)
  const y = addResidual(k, c.residual[kind], normed, mixed);
  const wide = rmsNorm(k, { x: y, weight: w.expertsNorm, eps: c.eps }); // (B * T, dModel)
  return addResidual(k, c.residual.mlp, wide, moe(k, c.experts, w.experts, wide));
}

function addResidual(
  k: Recorder,
  { alpha, beta }: ResidualFactors,
  residual: Tensor,
  output: Tensor,
): Tensor {
  return scaledAdd(k, { a: residual, aScale: alpha, b: output, bScale: beta });
}

function recordMiniMax(c: MiniMaxConfig, w: MiniMaxWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    let slot = 0;
    for (const layer of w.layers) {
      x = layerBlock(k, c, layer, w.rotation, slot, x); // (B * T, dModel)
      slot += layer.attention.kind === "linear_attention" ? 1 : 2;
    }
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

function lightningShape({ dModel, act, attention }: MiniMaxConfig): LightningShape {
  return { dModel, act, nHead: attention.nHead, headDim: attention.headDim };
}

/** What the files call the weights. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    attentionNorm: "input_layernorm.weight",
    expertsNorm: "post_attention_layernorm.weight",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    attentionNorm: "attn_norm.weight",
    expertsNorm: "ffn_norm.weight",
  },
} as const;

function expertNames(from: WeightLoader, at: string, nExpert: number): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({ name: `${at}block_sparse_moe.experts.${i}.${matrix}.weight` }));
  return {
    router: `${at}block_sparse_moe.gate.weight`,
    choiceBias: "",
    gate: each("w1"),
    up: each("w3"),
    down: each("w2"),
  };
}

async function loadWeights(c: MiniMaxConfig, from: WeightLoader): Promise<MiniMaxWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layerTypes.entries()) {
    const at = name.layer(i);
    const names = ATTENTION_NAMES[from.format];
    layers.push({
      attentionNorm: await from.vector(at + name.attentionNorm, 1, dModel),
      attention:
        kind === "linear_attention"
          ? {
              kind,
              weights: await loadLightning(from, at, lightningShape(c), {
                layer: i,
                nLayer: c.layerTypes.length,
              }),
            }
          : { kind, weights: await loadAttention(from, at, names, c.attention) },
      expertsNorm: await from.vector(at + name.expertsNorm, 1, dModel),
      experts: await loadMoe(from, expertNames(from, at, c.experts.nExpert), c.experts),
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
    rotation: await loadRotation(from, c.rotation, "halves"),
  };
}

/** `layer_types`; by default full and linear attention in turn. */
function readLayerTypes(config: ConfigFields): readonly LayerType[] {
  const nLayer = config.count(["num_hidden_layers"], 32);
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  const types = config.strings(["layer_types"]);
  if (types === null) {
    return Array.from({ length: nLayer }, (_, i) =>
      i % 2 === 0 ? "full_attention" : "linear_attention",
    );
  }
  requireGeometry(types.length === nLayer, `${types.length} layer_types for ${nLayer} layers`);
  return types.map((type) => {
    if (type === "full_attention" || type === "linear_attention") return type;
    throw config.unsupported("layer_types", '"full_attention" and "linear_attention"');
  });
}

/** A mark for each layer, or every so-manieth with full attention. */
function readGgufLayerTypes(config: GgufFields): readonly LayerType[] {
  const nLayer = config.count("block_count");
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  const interval = config.count("full_attention_interval", 8);
  const isLinear = config.has("attention.recurrent_layers")
    ? config.perLayer("attention.recurrent_layers", nLayer).map((mark) => mark !== 0)
    : Array.from({ length: nLayer }, (_, i) => (i + 1) % interval !== 0);
  return isLinear.map((marked) => (marked ? "linear_attention" : "full_attention"));
}

function model(c: MiniMaxConfig): Model {
  requireHeads(c.attention);
  requireExperts(c.experts);
  return {
    modelType: "minimax",
    nLayer: c.layerTypes.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layerTypes.flatMap((type, i): readonly StateSlot[] =>
      type === "linear_attention"
        ? [lightningSlot(`layers.${i}`, lightningShape(c))]
        : attentionLayerSlots(`layers.${i}`, c.attention),
    ),
    load: async (loader) => recordMiniMax(c, await loadWeights(c, loader)),
  };
}

function attentionShape(
  c: Pick<AttentionShape, "nHead" | "nKvHead" | "headDim" | "window"> & { readonly dModel: number },
): AttentionShape {
  const { dModel, nHead, nKvHead, headDim, window } = c;
  const scale = headDim ** -0.5;
  const none = { softCap: null, qkvBias: false, outBias: false, qkNorm: null } as const;
  return { dIn: dModel, dOut: dModel, nHead, nKvHead, headDim, scale, window, ...none };
}

/** Probabilities of all experts, then the choice, then a sum of 1. */
function moeShape(c: Pick<MoeShape, "dModel" | "dFf" | "nExpert" | "topK" | "act">): MoeShape {
  const only = { nGroup: 1, topKGroup: 1, scoring: "softmax", choiceBias: false } as const;
  return { ...c, ...only, dExpert: c.dModel, normalise: true, scale: 1, gated: true };
}

/** `model_type` "minimax"; llama.cpp calls it "minimax-01". */
export const minimax: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const dModel = config.count(["hidden_size"], 4096);
    const nHead = config.count(["num_attention_heads"], 32);
    const nKvHead = config.count(["num_key_value_heads"], 8);
    const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
    const window = config.has("sliding_window") ? config.count(["sliding_window"]) : null;
    const act = readActivation(config, ["hidden_act"], "silu");
    const rotated = { headDim, partial: null, theta: 1_000_000, maxPositions: 4096 * 32 };
    const factors = (name: string): ResidualFactors => ({
      alpha: config.number([`${name}_alpha_factor`], 1),
      beta: config.number([`${name}_beta_factor`], 1),
    });
    return model({
      layerTypes: readLayerTypes(config),
      dModel,
      attention: attentionShape({ dModel, nHead, nKvHead, headDim, window }),
      rotation: readRotation(config, rotated),
      experts: moeShape({
        dModel,
        dFf: config.count(["intermediate_size"], 14_336),
        nExpert: config.count(["num_local_experts", "num_experts"], 8),
        topK: config.count(["num_experts_per_tok"], 2),
        act,
      }),
      act,
      residual: {
        full_attention: factors("full_attn"),
        linear_attention: factors("linear_attn"),
        mlp: factors("mlp"),
      },
      vocabSize: config.count(["vocab_size"], 32_000),
      eps: config.positive(["rms_norm_eps"], 1e-5),
      tied: config.boolean(["tie_word_embeddings"], false),
    });
  },

  // Models are not written in this form: it has no place for the decays that the other files store.
  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "minimax-01");
    const { gguf } = NAMES;
    const dModel = config.count("embedding_length");
    const nHead = config.count("attention.head_count");
    const headDim = config.count("attention.key_length", Math.floor(dModel / nHead));
    const layerTypes = readGgufLayerTypes(config);
    const nKvHeads = config.perLayer("attention.head_count_kv", layerTypes.length);
    const nKvHead = Math.max(1, ...nKvHeads);
    const factors = { alpha: config.positive("residual_scale"), beta: 1 };
    return model({
      layerTypes,
      dModel,
      attention: attentionShape({ dModel, nHead, nKvHead, headDim, window: null }),
      rotation: readGgufRotation(config, headDim),
      experts: moeShape({
        dModel,
        dFf: config.count("feed_forward_length"),
        nExpert: config.count("expert_count"),
        topK: config.count("expert_used_count"),
        act: "silu",
      }),
      act: "silu",
      residual: { full_attention: factors, linear_attention: factors, mlp: factors },
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps: config.positive("attention.layer_norm_rms_epsilon"),
      tied: !tensors.has(gguf.head),
    });
  },
};
