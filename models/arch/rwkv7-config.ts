/**
 * How the three kinds of files that hold RWKV-7 models describe them: a small config.json beside the author's tensors,
 * that of fla (`configuration_rwkv7.py`), and the metadata that llama.cpp reads.
 */
import type { Activation } from "../../kernels/spec/activations.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";
import type { JsonObject } from "../weights/json.ts";
import { MAX_LAYERS, requireGeometry, type GgufDescription } from "./architecture.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";

/** The dimensions of a model, whatever its files are like. */
export interface Rwkv7Config {
  readonly layout: "author" | "fla" | "gguf";
  readonly nLayer: number;
  readonly dModel: number;
  /** Of a head's keys; dModel is nHead * headDim. */
  readonly headDim: number;
  /** All heads' values. */
  readonly dValue: number;
  readonly dFfn: number;
  readonly vocabSize: number;
  readonly ranks: Rwkv7Ranks;
  readonly eps: number;
  /** Of the norm of each head's output. */
  readonly headEps: number;
  /** Under the root of the removal key's squared length. */
  readonly lengthEps: number;
  readonly act: Activation;
  /** Norms have biases, that of the heads in any case. */
  readonly normBias: boolean;
  /** A norm behind the embedding. */
  readonly preNorm: boolean;
  /** The head is the embedding. */
  readonly tied: boolean;
}

/** Widths of the narrow layers between the two matrices that make w, a, v's mixture and g. */
export interface Rwkv7Ranks {
  readonly w: number;
  readonly a: number;
  readonly v: number;
  readonly g: number;
}

/** Of the author's code and of llama.cpp: 64 times the other norms', for heads of any size. */
const HEAD_EPS = 64e-5;
/** The square of the length that they divide a removal key by at least. */
const LENGTH_EPS = 1e-24;

/** @throws WeightsError `missing`, `malformed`, `unsupported` */
export function readConfig(json: JsonObject): Rwkv7Config {
  const config = new ConfigFields(json);
  return checked(config.has("model_type") ? readFla(config, json) : readAuthor(config));
}

function readAuthor(config: ConfigFields): Rwkv7Config {
  const dModel = config.count(["n_embd"]);
  return {
    layout: "author",
    nLayer: config.count(["n_layer"]),
    dModel,
    headDim: config.count(["head_size"], 64),
    dValue: dModel,
    dFfn: config.count(["dim_ffn"], 4 * dModel),
    vocabSize: config.count(["vocab_size"]),
    ranks: {
      w: config.count(["d_decay_lora"]),
      a: config.count(["d_aaa_lora"]),
      v: config.count(["d_mv_lora"]),
      g: config.count(["d_gate_lora"]),
    },
    eps: 1e-5,
    headEps: HEAD_EPS,
    lengthEps: LENGTH_EPS,
    act: "relu2",
    normBias: true,
    preNorm: true,
    tied: false,
  };
}

/** What fla calls the functions that it has. */
const FLA_ACTIVATIONS: Readonly<Record<string, Activation>> = {
  sqrelu: "relu2",
  relu: "relu",
  sigmoid: "sigmoid",
  silu: "silu",
  swish: "silu",
  gelu: "gelu_tanh",
};

function readFla(config: ConfigFields, json: JsonObject): Rwkv7Config {
  const dModel = config.count(["hidden_size"], 2048);
  const nLayer = config.count(["num_hidden_layers"], 24);
  const eps = config.positive(["norm_eps"], 1e-5);
  if (config.has("attn")) throw config.unsupported("attn", "null: no attention layers");
  const act = config.string(["hidden_act"], "sqrelu");
  const known = Object.hasOwn(FLA_ACTIVATIONS, act) ? FLA_ACTIVATIONS[act] : undefined;
  if (known === undefined)
    throw config.unsupported("hidden_act", Object.keys(FLA_ACTIVATIONS).join(", "));
  // The number of heads counts only where their size is null.
  const headDim =
    json["head_dim"] === null
      ? Math.trunc(dModel / config.count(["num_heads"]))
      : config.count(["head_dim"], 64);
  const rank = (field: string, fallback: number, computed: number): number =>
    json[field] === null ? computed : config.count([field], fallback);
  const root = Math.sqrt(dModel);
  return {
    layout: "fla",
    nLayer,
    dModel,
    headDim,
    dValue: valueDim(config, json, dModel, nLayer),
    dFfn: config.count(
      ["intermediate_size"],
      32 * Math.ceil(Math.trunc(dModel * config.positive(["hidden_ratio"], 4)) / 32),
    ),
    vocabSize: config.count(["vocab_size"], 32000),
    ranks: {
      w: rank("decay_low_rank_dim", 64, in32s((2.5 * root * headDim) / 64)),
      a: rank("a_low_rank_dim", 64, in32s((2.5 * root * headDim) / 64)),
      v: rank("v_low_rank_dim", 16, in32s((1.7 * root * headDim) / 64)),
      g: rank("gate_low_rank_dim", 128, in32s(5 * root)),
    },
    eps,
    headEps: headDim * eps,
    // fla's fused norm adds under the root what its other one holds the length itself above.
    lengthEps: config.boolean(["fuse_norm"], true) ? 1e-6 : LENGTH_EPS,
    act: known,
    normBias: config.boolean(["norm_bias"], true),
    preNorm: config.boolean(["norm_first"], true),
    tied: config.boolean(["tie_word_embeddings"], false),
  };
}

/** One width of the values for all layers, or a list with one for each: they mix with the first layer's, so all are equal. */
function valueDim(config: ConfigFields, json: JsonObject, dModel: number, nLayer: number): number {
  if (!Array.isArray(json["value_dim"])) return config.count(["value_dim"], dModel);
  const [first = 0, ...others] = config.numbers(["value_dim"]) ?? [];
  const listed = others.length + 1;
  requireGeometry(listed === nLayer, `value_dim has ${listed} widths for ${nLayer} layers`);
  if (others.some((other) => other !== first))
    throw config.unsupported("value_dim", "the same width in all layers");
  return first;
}

/** The nearest multiple of 32 (Python's `round`: of two equally near ones the even multiple), but at least 32. */
function in32s(width: number): number {
  const parts = width / 32;
  const floor = Math.floor(parts);
  const up = parts - floor > 0.5 || (parts - floor === 0.5 && floor % 2 === 1);
  return Math.max(32, 32 * (up ? floor + 1 : floor));
}

/** @throws WeightsError `missing`, `malformed` */
export function readGguf(metadata: GgufMetadata, vocabSize: number): Rwkv7Config {
  const config = new GgufFields(metadata, "rwkv7");
  const dModel = config.count("embedding_length");
  return checked({
    layout: "gguf",
    nLayer: config.count("block_count"),
    dModel,
    headDim: config.count("wkv.head_size"),
    dValue: dModel,
    dFfn: config.count("feed_forward_length"),
    vocabSize,
    ranks: {
      w: config.count("attention.decay_lora_rank"),
      a: config.count("attention.iclr_lora_rank"),
      v: config.count("attention.value_residual_mix_lora_rank"),
      g: config.count("attention.gate_lora_rank"),
    },
    eps: config.positive("attention.layer_norm_epsilon"),
    headEps: HEAD_EPS,
    lengthEps: LENGTH_EPS,
    act: "relu2",
    normBias: true,
    preNorm: true,
    tied: false,
  });
}

/** How llama.cpp describes the model; null if it has none like it. */
export function describeGguf(c: Rwkv7Config): GgufDescription | null {
  const described =
    c.preNorm &&
    c.normBias &&
    c.act === "relu2" &&
    c.dValue === c.dModel &&
    Math.fround(c.headEps) === Math.fround(HEAD_EPS);
  if (!described) return null;
  return {
    architecture: "rwkv7",
    fields: {
      context_length: 2 ** 20,
      vocab_size: c.vocabSize,
      embedding_length: c.dModel,
      block_count: c.nLayer,
      feed_forward_length: c.dFfn,
      "attention.head_count": 0,
      "attention.layer_norm_epsilon": c.eps,
      "wkv.head_size": c.headDim,
      "attention.decay_lora_rank": c.ranks.w,
      "attention.iclr_lora_rank": c.ranks.a,
      "attention.value_residual_mix_lora_rank": c.ranks.v,
      "attention.gate_lora_rank": c.ranks.g,
    },
    shapes: { "time_mix_lerp_fused.weight": [6, 1, 1, c.dModel] },
    // Every block must have what mixes its values with the first block's, though in the first nothing reads it.
    copies: {
      "blk.0.time_mix_v0.weight": "blk.0.time_mix_a0.weight",
      "blk.0.time_mix_v1.weight": "blk.0.time_mix_a1.weight",
      "blk.0.time_mix_v2.weight": "blk.0.time_mix_a2.weight",
      ...(c.tied ? { "output.weight": "token_embd.weight" } : {}),
    },
  };
}

function checked(c: Rwkv7Config): Rwkv7Config {
  requireGeometry(c.nLayer <= MAX_LAYERS, `${c.nLayer} layers`);
  requireGeometry(
    c.headDim >= 1 && c.dModel % c.headDim === 0,
    `heads of ${c.headDim} do not divide a width of ${c.dModel}`,
  );
  const nHead = c.dModel / c.headDim;
  requireGeometry(
    Number.isSafeInteger(c.dValue) && c.dValue >= nHead && c.dValue % nHead === 0,
    `${nHead} heads do not divide values of ${c.dValue}`,
  );
  return c;
}
