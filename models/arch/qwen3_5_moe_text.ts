/**
 * Qwen3.5 with experts: its decoder with Qwen3-Next's feed-forward layers.
 * Source: transformers `modeling_qwen3_5_moe.py`; for GGUF llama.cpp's `qwen35moe`.
 */
import type { JsonObject } from "../weights/json.ts";
import type { Architecture, Model } from "./architecture.ts";
import {
  describeQwenHybrid,
  readExperts,
  readQwenHybrid,
  readQwenHybridGguf,
} from "./blocks/qwen-hybrid-fields.ts";
import { qwenHybridModel } from "./blocks/qwen-hybrid.ts";
import { ConfigFields } from "./config-fields.ts";
import {
  QWEN35_KEY_HEADS,
  qwen35DeltaNetNames,
  qwen35Sections,
  qwen35TextFields,
} from "./qwen3_5_text.ts";

const MODEL_TYPE = "qwen3_5_moe_text";
const GGUF_ARCHITECTURE = "qwen35moe";

function fromConfig(json: JsonObject): Model {
  const config = qwen35TextFields(json);
  const fields = readQwenHybrid(
    config,
    { vocabSize: 248320, dModel: 2048, nLayer: 40, nHead: 16, nKvHead: 2 },
    QWEN35_KEY_HEADS,
  );
  // The weights of a token's experts are always divided by their sum here.
  const experts = readExperts(config, fields.dModel, { nExpert: 256, topK: 8, normalise: true });
  const c = {
    ...fields,
    tied: new ConfigFields(json).boolean(["tie_word_embeddings"], fields.tied),
    modelType: MODEL_TYPE,
    feedForwards: fields.mixers.map(() => experts),
  };
  const described = describeQwenHybrid(c, GGUF_ARCHITECTURE, qwen35Sections(config, c.rotation));
  return qwenHybridModel(c, (from, at) => qwen35DeltaNetNames(c.delta, from, at), described);
}

/** `model_type` "qwen3_5_moe_text", or "qwen3_5_moe" with the decoder in `text_config`; "qwen35moe" in GGUF files. */
export const qwen35MoeText: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const fields = readQwenHybridGguf(metadata, tensors, GGUF_ARCHITECTURE, QWEN35_KEY_HEADS);
    const c = { ...fields, modelType: MODEL_TYPE };
    return qwenHybridModel(c, (from, at) => qwen35DeltaNetNames(c.delta, from, at), undefined);
  },
};
