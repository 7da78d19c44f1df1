/** What describes an LFM2, from config.json and from GGUF metadata, and how llama.cpp describes it. */
import type { TensorSource } from "../weights/source.ts";
import { MAX_LAYERS, requireGeometry, type GgufDescription } from "./architecture.ts";
import type { AttentionShape } from "./blocks/attention.ts";
import type { MoeShape } from "./blocks/moe.ts";
import { readGgufRotation, readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import type { ShortConvShape } from "./blocks/short-conv.ts";
import type { ConfigFields } from "./config-fields.ts";
import type { GgufFields } from "./gguf-fields.ts";

export type LayerType = "conv" | "full_attention";

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
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
    eps,
    tied: !tensors.has("output.weight"),
  };
}

/**
 * Columns within an MLP: by default two thirds of what the field says, rounded up to a multiple.
 * @throws WeightsError `malformed`
 */
export function readFeedForward(config: ConfigFields): number {
  const stated = config.count(["block_ff_dim", "intermediate_size"], 12_288);
  if (!config.boolean(["block_auto_adjust_ff_dim"], true)) return stated;
  const multiplier = config.positive(["block_ffn_dim_multiplier"], 1);
  const multipleOf = config.count(["block_multiple_of"], 256);
  const wanted = Math.trunc(multiplier * Math.trunc((2 * stated) / 3));
  return multipleOf * Math.ceil(wanted / multipleOf);
}
