import type { JsonObject } from "./json.ts";

/**
 * Which architecture a config.json is of: its `model_type`, or what the layouts of a model's authors say instead of it.
 * "" where it says nothing that is known.
 */
export function modelTypeOf(json: JsonObject): string {
  const { model_type: modelType, architecture } = json;
  // Mistral calls Mamba-2 "mamba".
  if ("dim" in json && "n_layers" in json && "n_groups" in json) return "codestral_mamba";
  if (typeof modelType === "string") return modelType;
  if (typeof architecture === "string" && architecture.startsWith("rwkv7")) return "rwkv7";
  if ("ssm_cfg" in json || ("d_model" in json && "n_layer" in json)) return "state_spaces";
  return "";
}
