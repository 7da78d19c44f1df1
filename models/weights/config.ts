/** A model's configuration files, as Python writes them, turned into plain values. */
import { WeightsError } from "./errors.ts";
import { isJsonObject, parseJson, type JsonObject, type JsonValue } from "./json.ts";

/** Far more than any config.json; the file is read whole. */
export const MAX_CONFIG_BYTES = 16 * 1024 * 1024;

/**
 * Parses config.json or generation_config.json. Infinity and NaN are taken both as bare tokens (old files) and as
 * `{"__float__": "Infinity"}` (new ones).
 * @throws WeightsError `malformed`
 */
export function parseConfig(bytes: Uint8Array, file: string): JsonObject {
  const config = unwrapFloats(parseJson(bytes, file), file);
  if (!isJsonObject(config))
    throw new WeightsError("malformed", { file, reason: "the configuration is not a JSON object" });
  return config;
}

function unwrapFloats(value: JsonValue, file: string): JsonValue {
  if (Array.isArray(value)) return value.map((element) => unwrapFloats(element, file));
  if (!isJsonObject(value)) return value;
  const entries = Object.entries(value);
  const [first] = entries;
  if (first?.[0] === "__float__" && entries.length === 1) return nonFinite(first[1], file);
  const object: Record<string, JsonValue> = Object.create(null);
  for (const [key, inner] of entries) object[key] = unwrapFloats(inner, file);
  return object;
}

function nonFinite(text: JsonValue, file: string): number {
  switch (text) {
    case "Infinity":
      return Infinity;
    case "-Infinity":
      return -Infinity;
    case "NaN":
      return NaN;
    default:
      throw new WeightsError("malformed", {
        file,
        reason: "__float__ holds an unknown number",
        expected: "Infinity, -Infinity or NaN",
        actual: JSON.stringify(text),
      });
  }
}

/** The ids under `eos_token_id`, which is one id or a list. Anything else gives none. */
export function eosIds(config: JsonObject): readonly number[] {
  const value = config["eos_token_id"];
  const ids = Array.isArray(value) ? value : [value];
  return ids.filter((id) => typeof id === "number" && Number.isInteger(id) && id >= 0);
}
