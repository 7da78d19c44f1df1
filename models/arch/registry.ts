import type { ModelConfig } from "../weights/open-model.ts";
import type { TensorSource } from "../weights/source.ts";
import type { Architecture, Model } from "./architecture.ts";
import { UnknownArchitectureError } from "./errors.ts";
import { falconMamba } from "./falcon_mamba.ts";
import { jamba } from "./jamba.ts";
import { lfm2 } from "./lfm2.ts";
import { lfm2Moe } from "./lfm2_moe.ts";
import { mamba } from "./mamba.ts";
import { mamba2 } from "./mamba2.ts";
import { qwen3Next } from "./qwen3_next.ts";
import { recurrentGemma } from "./recurrent_gemma.ts";
import { rwkv } from "./rwkv.ts";
import { rwkv7 } from "./rwkv7.ts";

/** Every architecture under its `model_type`, and under GGUF's name where that is another. */
const architectures: ReadonlyMap<string, Architecture> = new Map(
  Object.entries({
    falcon_mamba: falconMamba,
    jamba,
    lfm2,
    lfm2_moe: lfm2Moe,
    lfm2moe: lfm2Moe,
    mamba,
    mamba2,
    qwen3_next: qwen3Next,
    qwen3next: qwen3Next,
    recurrent_gemma: recurrentGemma,
    rwkv,
    rwkv7,
  }),
);

/**
 * The model that a configuration describes; its dimensions are checked against each other, its weights not yet.
 * @throws UnknownArchitectureError; WeightsError for a configuration that is malformed or asks for what is not supported
 */
export function describeModel(config: ModelConfig, tensors: TensorSource): Model {
  const architecture = architectures.get(config.modelType);
  if (architecture === undefined)
    throw new UnknownArchitectureError(config.modelType, [...architectures.keys()]);
  switch (config.format) {
    case "safetensors":
      return architecture.fromConfig(config.json);
    case "gguf":
      return architecture.fromGguf(config.metadata, tensors);
  }
}
