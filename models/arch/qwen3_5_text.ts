/**
 * Qwen3.5: the decoder of Qwen3-Next with MLPs in place of experts, the text part of models that also see.
 * Source: transformers `modeling_qwen3_5.py`; for GGUF llama.cpp's `qwen35`.
 */
import type { JsonObject } from "../weights/json.ts";
import type { Architecture, Model } from "./architecture.ts";
import {
  headRows,
  keyDimOf,
  valueDimOf,
  type DeltaNetNames,
  type DeltaNetShape,
} from "./blocks/gated-delta-net.ts";
import {
  describeQwenHybrid,
  readQwenHybrid,
  readQwenHybridGguf,
} from "./blocks/qwen-hybrid-fields.ts";
import { qwenHybridModel, type FeedForwardShape } from "./blocks/qwen-hybrid.ts";
import type { Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

/**
 * llama.cpp puts one value head of each key head in turn, and so do models here, for the columns of a packed matrix
 * cannot be moved. Hugging Face's files hold the value heads of a key head side by side.
 */
export const QWEN35_KEY_HEADS = "tiled";

/** Where the files of Qwen3.5, with experts or without, keep a DeltaNet layer. */
export function qwen35DeltaNetNames(
  c: DeltaNetShape,
  from: WeightLoader,
  at: string,
): DeltaNetNames {
  if (from.format === "gguf") {
    return {
      qkv: `${at}attn_qkv.weight`,
      z: `${at}attn_gate.weight`,
      ba: [
        { name: `${at}ssm_beta.weight`, rows: c.nValueHead },
        { name: `${at}ssm_alpha.weight`, rows: c.nValueHead },
      ],
      conv: `${at}ssm_conv1d.weight`,
      dtBias: `${at}ssm_dt.bias`,
      A: `${at}ssm_a`,
      norm: `${at}ssm_norm.weight`,
      out: `${at}ssm_out.weight`,
    };
  }
  const { nKeyHead, nValueHead, headDimV } = c;
  const repeat = nValueHead / nKeyHead;
  const storedHead = (head: number): number =>
    (head % nKeyHead) * repeat + Math.floor(head / nKeyHead);
  const order = headRows(headDimV, storedHead);
  const keys = 2 * keyDimOf(c);
  const values = valueDimOf(c);
  const mixer = `${at}linear_attn.`;
  const qkv = `${mixer}in_proj_qkv.weight`;
  const storedRows = keys + values;
  return {
    qkv: [
      { name: qkv, rows: keys, storedRows },
      { name: qkv, firstRow: keys, rows: values, storedRows, order },
    ],
    z: [{ name: `${mixer}in_proj_z.weight`, order }],
    ba: [
      { name: `${mixer}in_proj_b.weight`, order: storedHead },
      { name: `${mixer}in_proj_a.weight`, order: storedHead },
    ],
    conv: `${mixer}conv1d.weight`,
    dtBias: `${mixer}dt_bias`,
    A: `${mixer}A_log`,
    norm: `${mixer}norm.weight`,
    out: [{ name: `${mixer}out_proj.weight`, columnOrder: order }],
    storedHead,
  };
}

/** The fields of the decoder, which models that also see keep in an object of their own. */
export function qwen35TextFields(json: JsonObject): ConfigFields {
  const config = new ConfigFields(json);
  return config.object(["text_config"]) ?? config;
}

/**
 * What llama.cpp must know of positions in pictures, though text has only one position: of a head's pairs that turn in turn
 * with time, height and width, how many turn with each.
 */
export function qwen35Sections(
  config: ConfigFields,
  { frequencies }: Rotation,
): Readonly<Record<string, readonly number[]>> {
  const rope = config.object(["rope_scaling"]) ?? config.object(["rope_parameters"]);
  const given = rope?.numbers(["mrope_section"]) ?? [];
  const pairs = frequencies.length;
  const complete = given.length === 3 && given.reduce((sum, count) => sum + count, 0) === pairs;
  const sections = complete
    ? given
    : [0, 1, 2].map((first) => Math.max(0, Math.ceil((pairs - first) / 3)));
  return { "rope.dimension_sections": [...sections, 0] };
}

const MODEL_TYPE = "qwen3_5_text";
const GGUF_ARCHITECTURE = "qwen35";

function fromConfig(json: JsonObject): Model {
  const config = qwen35TextFields(json);
  const fields = readQwenHybrid(
    config,
    { vocabSize: 248320, dModel: 4096, nLayer: 32, nHead: 16, nKvHead: 4 },
    QWEN35_KEY_HEADS,
  );
  const feedForward: FeedForwardShape = {
    kind: "mlp",
    dFf: config.count(["intermediate_size"], 12288),
  };
  const c = {
    ...fields,
    // Models that also see say it outside of their decoder's fields.
    tied: new ConfigFields(json).boolean(["tie_word_embeddings"], fields.tied),
    modelType: MODEL_TYPE,
    feedForwards: fields.mixers.map(() => feedForward),
  };
  const described = describeQwenHybrid(c, GGUF_ARCHITECTURE, qwen35Sections(config, c.rotation));
  return qwenHybridModel(c, (from, at) => qwen35DeltaNetNames(c.delta, from, at), described);
}

/** `model_type` "qwen3_5_text", or "qwen3_5" with the decoder in `text_config`; "qwen35" in GGUF files. */
export const qwen35Text: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const fields = readQwenHybridGguf(metadata, tensors, GGUF_ARCHITECTURE, QWEN35_KEY_HEADS);
    const c = { ...fields, modelType: MODEL_TYPE };
    return qwenHybridModel(c, (from, at) => qwen35DeltaNetNames(c.delta, from, at), undefined);
  },
};
