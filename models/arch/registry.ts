import type { ModelConfig } from "../weights/open-model.ts";
import type { TensorSource } from "../weights/source.ts";
import type { Architecture, Model } from "./architecture.ts";
import { bamba } from "./bamba.ts";
import { UnknownArchitectureError } from "./errors.ts";
import { codestralMamba } from "./codestral_mamba.ts";
import { falconH1 } from "./falcon_h1.ts";
import { falconMamba } from "./falcon_mamba.ts";
import { graniteMoeHybrid } from "./granitemoehybrid.ts";
import { jamba } from "./jamba.ts";
import { kimiLinear } from "./kimi_linear.ts";
import { lfm2 } from "./lfm2.ts";
import { lfm2Moe } from "./lfm2_moe.ts";
import { mamba } from "./mamba.ts";
import { mamba2 } from "./mamba2.ts";
import { olmoHybrid } from "./olmo_hybrid.ts";
import { nemotronH } from "./nemotron_h.ts";
import { qwen35MoeText } from "./qwen3_5_moe_text.ts";
import { qwen35Text } from "./qwen3_5_text.ts";
import { qwen3Next } from "./qwen3_next.ts";
import { minimax } from "./minimax.ts";
import { moeMamba } from "./moe_mamba.ts";
import { recurrentGemma } from "./recurrent_gemma.ts";
import { rwkv } from "./rwkv.ts";
import { rwkv7 } from "./rwkv7.ts";
import { xlstm } from "./xlstm.ts";
import { stateSpaces } from "./state_spaces.ts";
import { zamba } from "./zamba.ts";
import { zamba2 } from "./zamba2.ts";
import { zaya } from "./zaya.ts";

/** Every architecture under its `model_type`, and under GGUF's name where that is another. */
export const architectures: ReadonlyMap<string, Architecture> = new Map(
  Object.entries({
    bamba,
    codestral_mamba: codestralMamba,
    falcon_h1: falconH1,
    "falcon-h1": falconH1,
    falcon_mamba: falconMamba,
    granitemoehybrid: graniteMoeHybrid,
    granitehybrid: graniteMoeHybrid,
    jamba,
    kimi_linear: kimiLinear,
    "kimi-linear": kimiLinear,
    lfm2,
    lfm2_moe: lfm2Moe,
    lfm2moe: lfm2Moe,
    mamba,
    mamba2,
    olmo_hybrid: olmoHybrid,
    nemotron_h: nemotronH,
    nemotron_h_moe: nemotronH,
    qwen3_5: qwen35Text,
    qwen3_5_text: qwen35Text,
    qwen35: qwen35Text,
    qwen3_5_moe: qwen35MoeText,
    qwen3_5_moe_text: qwen35MoeText,
    qwen35moe: qwen35MoeText,
    qwen3_next: qwen3Next,
    qwen3next: qwen3Next,
    minimax,
    "minimax-01": minimax,
    recurrent_gemma: recurrentGemma,
    rwkv,
    rwkv7,
    xlstm,
    moe_mamba: moeMamba,
    state_spaces: stateSpaces,
    zamba,
    zamba2,
    zaya,
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
