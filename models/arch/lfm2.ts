/**
 * LFM2, and what its variant with experts (lfm2_moe.ts) shares with it: all but the configuration. Sources: LFM2 Technical
 * Report (arXiv:2511.23404); transformers `modeling_lfm2.py`, `modeling_lfm2_moe.py`; for GGUF names llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { TensorSource } from "../weights/source.ts";
import {
  MAX_LAYERS,
  requireGeometry,
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
  loadRotation,
  requireHeads,
  type AttentionNames,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
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
import { readGgufRotation, readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import {
  loadShortConv,
  shortConv,
  shortConvSlot,
  type ShortConvShape,
  type ShortConvWeights,
} from "./blocks/short-conv.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

type LayerType = "conv" | "full_attention";

export interface Lfm2Config {
  readonly modelType: string;
  readonly layerTypes: readonly LayerType[];
  readonly dModel: number;
  readonly conv: ShortConvShape;
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  /** Columns within the MLP of a layer without experts. */
  readonly dFf: number;
  /** Layers before the first with experts; all of them where there are none. */
  readonly nDense: number;
  readonly moe: MoeShape | null;
  readonly vocabSize: number;
  readonly eps: number;
  /** The head is the embedding. */
  readonly tied: boolean;
  /** How llama.cpp describes it; null where it cannot. */
  readonly gguf: GgufDescription | null;
}

interface LayerWeights {
  readonly operatorNorm: Weight; // (1, dModel)
  readonly operator:
    | { readonly kind: "conv"; readonly weights: ShortConvWeights }
    | { readonly kind: "full_attention"; readonly weights: AttentionWeights };
  readonly ffnNorm: Weight; //      (1, dModel)
  readonly ffn:
    | { readonly kind: "mlp"; readonly weights: MlpWeights }
    | { readonly kind: "moe"; readonly weights: MoeWeights; readonly shape: MoeShape };
}

interface Lfm2Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights;
}

/**
 * The layer's operator, a short convolution or attention, with its residual.
 * @param slot the layer's first
 */
function operatorBlock(
  k: Recorder,
  c: Lfm2Config,
  w: LayerWeights,
  rotation: RotationWeights,
  slot: number,
  x: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x, weight: w.operatorNorm, eps: c.eps }); // (B * T, dModel)
  if (w.operator.kind === "conv")
    return shortConv(k, w.operator.weights, k.state(slot), normed, { residual: x });
  const kv = { keys: k.state(slot), values: k.state(slot + 1) };
  return attentionLayer(k, c.attention, w.operator.weights, rotation, kv, normed, { residual: x });
}

/** The layer's MLP or experts, with their residual. */
function ffnBlock(k: Recorder, c: Lfm2Config, w: LayerWeights, x: Tensor): Tensor {
  const normed = rmsNorm(k, { x, weight: w.ffnNorm, eps: c.eps }); // (B * T, dModel)
  return w.ffn.kind === "mlp"
    ? mlp(k, w.ffn.weights, normed, { act: "silu", residual: x })
    : moe(k, w.ffn.shape, w.ffn.weights, normed, { residual: x }); // (B * T, dModel)
}

function recordLfm2(c: Lfm2Config, w: Lfm2Weights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    let slot = 0;
    for (const layer of w.layers) {
      x = operatorBlock(k, c, layer, w.rotation, slot, x); // (B * T, dModel)
      slot += layer.operator.kind === "conv" ? 1 : 2;
      x = ffnBlock(k, c, layer, x); // (B * T, dModel)
    }
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** What the files call the weights. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.embedding_norm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    operatorNorm: "operator_norm.weight",
    ffnNorm: "ffn_norm.weight",
    gateUp: ["feed_forward.w1", "feed_forward.w3"],
    down: "feed_forward.w2",
  },
  gguf: {
    embedding: "token_embd.weight",
    // Of the head's input, whatever its name says.
    norm: "token_embd_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    operatorNorm: "attn_norm.weight",
    ffnNorm: "ffn_norm.weight",
    gateUp: ["ffn_gate", "ffn_up"],
    down: "ffn_down",
  },
} as const;

const ATTENTION = {
  safetensors: {
    ...ATTENTION_NAMES.safetensors,
    out: "self_attn.out_proj",
    qNorm: "self_attn.q_layernorm",
    kNorm: "self_attn.k_layernorm",
  },
  gguf: ATTENTION_NAMES.gguf,
} as const satisfies Record<WeightLoader["format"], AttentionNames>;

function moeNames(from: WeightLoader, at: string, { nExpert }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (expert) => ({
      name: `${at}feed_forward.experts.${expert}.${matrix}.weight`,
    }));
  return {
    router: `${at}feed_forward.gate.weight`,
    choiceBias: `${at}feed_forward.expert_bias`,
    gate: each("w1"),
    up: each("w3"),
    down: each("w2"),
  };
}

async function loadLayer(
  c: Lfm2Config,
  from: WeightLoader,
  i: number,
  kind: LayerType,
): Promise<LayerWeights> {
  const { dModel, dFf } = c;
  const name = NAMES[from.format];
  const at = name.layer(i);
  const names = ATTENTION[from.format];
  const gateUp = [at + name.gateUp[0], at + name.gateUp[1]] as const;
  return {
    operatorNorm: await from.vector(at + name.operatorNorm, 1, dModel),
    operator:
      kind === "conv"
        ? { kind, weights: await loadShortConv(from, at, c.conv) }
        : { kind, weights: await loadAttention(from, at, names, c.attention) },
    ffnNorm: await from.vector(at + name.ffnNorm, 1, dModel),
    ffn:
      c.moe === null || i < c.nDense
        ? {
            kind: "mlp",
            weights: await loadMlp(
              from,
              { gateUp, down: at + name.down },
              { dModel, dFf, bias: false },
            ),
          }
        : {
            kind: "moe",
            shape: c.moe,
            weights: await loadMoe(from, moeNames(from, at, c.moe), c.moe),
          },
  };
}

async function loadWeights(c: Lfm2Config, from: WeightLoader): Promise<Lfm2Weights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layerTypes.entries()) layers.push(await loadLayer(c, from, i, kind));
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
    rotation: await loadRotation(from, c.rotation, "halves"),
  };
}

/** The model of a configuration. @throws WeightsError `malformed` for dimensions that contradict each other */
export function lfm2Model(c: Lfm2Config): Model {
  requireGeometry(c.conv.dConv >= 2, `a convolution of ${c.conv.dConv} taps has no state`);
  requireGeometry(c.dFf >= 1, "an MLP without columns");
  requireHeads(c.attention);
  if (c.moe !== null) requireExperts(c.moe);
  return {
    modelType: c.modelType,
    nLayer: c.layerTypes.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layerTypes.flatMap((type, i): readonly StateSlot[] =>
      type === "conv"
        ? [shortConvSlot(`layers.${i}`, c.conv)]
        : attentionLayerSlots(`layers.${i}`, c.attention),
    ),
    ...(c.gguf === null ? {} : { gguf: c.gguf }),
    load: async (loader) => recordLfm2(c, await loadWeights(c, loader)),
  };
}

function attentionShape(c: {
  readonly dModel: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
  readonly eps: number;
}): AttentionShape {
  const { dModel, nHead, nKvHead, headDim, eps } = c;
  return {
    dIn: dModel,
    dOut: dModel,
    nHead,
    nKvHead,
    headDim,
    scale: headDim ** -0.5,
    softCap: null,
    window: null,
    qkvBias: false,
    outBias: false,
    qkNorm: { over: "head", eps },
  };
}

/** `layer_types`, or the older list of the attention layers' numbers, which by default are all. */
function readLayerTypes(config: ConfigFields): readonly LayerType[] {
  const nLayer = config.count(["num_hidden_layers"], 32);
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  const types = config.strings(["layer_types"]);
  if (types === null) {
    const attention = config.numbers(["full_attn_idxs"]);
    return Array.from({ length: nLayer }, (_, i) =>
      attention === null || attention.includes(i) ? "full_attention" : "conv",
    );
  }
  requireGeometry(types.length === nLayer, `${types.length} layer_types for ${nLayer} layers`);
  return types.map((type) => {
    if (type === "conv" || type === "full_attention") return type;
    throw config.unsupported("layer_types", '"conv" and "full_attention"');
  });
}

/** What both kinds of LFM2 read alike. */
type Shared = Omit<Lfm2Config, "modelType" | "dFf" | "nDense" | "moe" | "gguf">;

/**
 * @param dModel `hidden_size` where the file does not say
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function readLfm2(config: ConfigFields, defaults: { readonly dModel: number }): Shared {
  const dModel = config.count(["hidden_size"], defaults.dModel);
  const nHead = config.count(["num_attention_heads"], 32);
  const nKvHead = config.count(["num_key_value_heads"], 8);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const eps = config.positive(["norm_eps"], 1e-5);
  const rotated = { headDim, partial: null, theta: 1_000_000, maxPositions: MAX_POSITIONS };
  return {
    layerTypes: readLayerTypes(config),
    dModel,
    conv: {
      dModel,
      dConv: config.count(["conv_L_cache"], 3),
      bias: config.boolean(["conv_bias"], false),
    },
    attention: attentionShape({ dModel, nHead, nKvHead, headDim, eps }),
    rotation: readRotation(config, rotated),
    vocabSize: config.count(["vocab_size"], 65_536),
    eps,
    tied: config.boolean(["tie_embedding", "tie_word_embeddings"], true),
  };
}

/** `max_position_embeddings` where the file does not say. */
const MAX_POSITIONS = 128_000;

/**
 * llama.cpp's metadata for what both kinds have; null where llama.cpp cannot: biases in the convolution, heads that are not
 * as wide together as the model, some ways of scaling the rotation.
 */
export function lfm2GgufFields(
  config: ConfigFields,
  c: Shared & { readonly dFf: number },
): GgufDescription["fields"] | null {
  const { nHead, nKvHead, headDim } = c.attention;
  if (c.conv.bias || c.rotation.gguf === undefined || nHead * headDim !== c.dModel) return null;
  return {
    block_count: c.layerTypes.length,
    context_length: config.count(["max_position_embeddings"], MAX_POSITIONS),
    embedding_length: c.dModel,
    feed_forward_length: c.dFf,
    "attention.head_count": nHead,
    "attention.head_count_kv": c.layerTypes.map((type) => (type === "conv" ? 0 : nKvHead)),
    "attention.key_length": headDim,
    "attention.value_length": headDim,
    "attention.layer_norm_rms_epsilon": c.eps,
    ...c.rotation.gguf,
    "shortconv.l_cache": c.conv.dConv,
  };
}

/** The same from a GGUF file. @throws WeightsError `missing`, `malformed`, `unsupported` */
export function readLfm2Gguf(
  config: GgufFields,
  tensors: TensorSource,
): Shared & { readonly dFf: number } {
  const { gguf } = NAMES;
  const nLayer = config.count("block_count");
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  if (config.has("attention.sliding_window"))
    throw config.unsupported("attention.sliding_window", "attention to all tokens");
  const dModel = config.count("embedding_length");
  const nHead = config.count("attention.head_count");
  const nKvHeads = config.perLayer("attention.head_count_kv", nLayer);
  const headDim = config.count("attention.key_length", Math.floor(dModel / nHead));
  const eps = config.positive("attention.layer_norm_rms_epsilon");
  const nKvHead = Math.max(1, ...nKvHeads);
  return {
    layerTypes: nKvHeads.map((heads) => (heads > 0 ? "full_attention" : "conv")),
    dModel,
    conv: { dModel, dConv: config.count("shortconv.l_cache"), bias: false },
    attention: attentionShape({ dModel, nHead, nKvHead, headDim, eps }),
    rotation: readGgufRotation(config, headDim),
    dFf: config.count("feed_forward_length"),
    vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
    eps,
    tied: !tensors.has(gguf.head),
  };
}

/** Columns within an MLP: by default two thirds of what the field says, rounded up to a multiple. */
function readFeedForward(config: ConfigFields): number {
  const stated = config.count(["block_ff_dim", "intermediate_size"], 12_288);
  if (!config.boolean(["block_auto_adjust_ff_dim"], true)) return stated;
  const multiplier = config.positive(["block_ffn_dim_multiplier"], 1);
  const multipleOf = config.count(["block_multiple_of"], 256);
  const wanted = Math.trunc(multiplier * Math.trunc((2 * stated) / 3));
  return multipleOf * Math.ceil(wanted / multipleOf);
}

/** `model_type` "lfm2". */
export const lfm2: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const shared = { ...readLfm2(config, { dModel: 2560 }), dFf: readFeedForward(config) };
    const fields = lfm2GgufFields(config, shared);
    return lfm2Model({
      ...shared,
      modelType: "lfm2",
      nDense: shared.layerTypes.length,
      moe: null,
      gguf: fields && { architecture: "lfm2", fields },
    });
  },

  fromGguf(metadata, tensors) {
    const shared = readLfm2Gguf(new GgufFields(metadata, "lfm2"), tensors);
    const nDense = shared.layerTypes.length;
    return lfm2Model({ ...shared, modelType: "lfm2", nDense, moe: null, gguf: null });
  },
};
