/** How a model's authors would have it sampled: generation_config.json, or general.sampling.* of GGUF. */
import type { GgufMetadata } from "./gguf-metadata.ts";
import type { JsonObject } from "./json.ts";

/** What is missing is left open. Units and ranges as in SamplerOptions. */
export interface SamplerHints {
  readonly temperature?: number | undefined;
  readonly topK?: number | undefined;
  readonly topP?: number | undefined;
  readonly minP?: number | undefined;
  readonly repetitionPenalty?: number | undefined;
  readonly repetitionWindow?: number | undefined;
}

/** Hints that make sense, and a sentence about each that does not. */
export interface ReadHints {
  readonly hints: SamplerHints;
  readonly notices: readonly string[];
}

interface Field {
  readonly name: keyof SamplerHints;
  /** In generation_config.json; null where transformers has no such field. */
  readonly json: string | null;
  /** Behind "general.sampling.". Source: gguf-py's constants.py, llama.cpp's llama-arch.cpp. */
  readonly gguf: string;
  readonly whole: boolean;
  readonly least: number;
  readonly most: number;
}

/** All of SamplerHints; anything beyond these ranges is a mistake or a joke. */
const FIELDS: readonly Field[] = [
  { name: "temperature", json: "temperature", gguf: "temp", whole: false, least: 0, most: 5 },
  { name: "topK", json: "top_k", gguf: "top_k", whole: true, least: 0, most: 100_000 },
  { name: "topP", json: "top_p", gguf: "top_p", whole: false, least: 0, most: 1 },
  { name: "minP", json: "min_p", gguf: "min_p", whole: false, least: 0, most: 1 },
  {
    name: "repetitionPenalty",
    json: "repetition_penalty",
    gguf: "penalty_repeat",
    whole: false,
    least: 0.5,
    most: 3,
  },
  {
    name: "repetitionWindow",
    json: null,
    gguf: "penalty_last_n",
    whole: true,
    least: 0,
    most: 8192,
  },
];

/** @param config generation_config.json; null where there is none */
export function hintsOfConfig(config: JsonObject | null): ReadHints {
  if (config === null) return { hints: {}, notices: [] };
  const read = readFields(
    ({ json }) => (json === null ? undefined : config[json]),
    ({ json }) => `${json} of generation_config.json`,
  );
  const { temperature } = read.hints;
  const said = config["do_sample"];
  // transformers: without sampling nothing but the penalty counts; with it the temperature is 1 where none is given.
  if (said === false) {
    const { repetitionPenalty } = read.hints;
    const penalty = repetitionPenalty === undefined ? {} : { repetitionPenalty };
    return { ...read, hints: { temperature: 0, ...penalty } };
  }
  if (said === true && temperature === undefined)
    return { ...read, hints: { temperature: 1, ...read.hints } };
  return read;
}

/** @param metadata of a GGUF file */
export function hintsOfGguf(metadata: GgufMetadata): ReadHints {
  return readFields(
    ({ gguf }) => metadata.get(ggufKey(gguf)),
    ({ gguf }) => ggufKey(gguf),
  );
}

/** The hints under their keys in GGUF, with the types that llama.cpp's converter gives them. */
export function hintsAsGguf(
  hints: SamplerHints,
): readonly (readonly [key: string, value: { type: "i32" | "f32"; value: number }])[] {
  return FIELDS.flatMap(({ name, gguf, whole }) => {
    const value = hints[name];
    return value === undefined
      ? []
      : [[ggufKey(gguf), { type: whole ? ("i32" as const) : ("f32" as const), value }] as const];
  });
}

function ggufKey(field: string): string {
  return `general.sampling.${field}`;
}

function readFields(find: (field: Field) => unknown, place: (field: Field) => string): ReadHints {
  const hints: { -readonly [K in keyof SamplerHints]: SamplerHints[K] } = {};
  const notices: string[] = [];
  for (const field of FIELDS) {
    const found = find(field);
    if (found === undefined || found === null) continue;
    // For top-k both llama.cpp and vLLM take -1 for "off", which is 0 here.
    const value = field.name === "topK" && found === -1 ? 0 : found;
    if (isWithin(field, value)) {
      // GGUF has f32: 0.6 comes as 0.60000002.
      hints[field.name] = Number(value.toPrecision(6));
    } else {
      const range = `${field.whole ? "a whole number" : "a number"} from ${field.least} to ${field.most}`;
      notices.push(
        `The model's hint for sampling, ${place(field)}, is ${shown(found)} and is not followed; expected ${range}.`,
      );
    }
  }
  return { hints, notices };
}

function isWithin({ whole, least, most }: Field, value: unknown): value is number {
  return (
    typeof value === "number" &&
    value >= least &&
    value <= most &&
    (!whole || Number.isInteger(value))
  );
}

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  return typeof value === "object" ? "a list or an object" : String(value);
}
