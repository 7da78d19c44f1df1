import { parseArgs, type ParseArgsConfig } from "node:util";
import type { BackendChoice, KvDtype } from "../../models/engine/protocol.ts";

/** The command line itself is wrong; exit status 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Options that every command takes. */
export const commonOptions = {
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  backend: { type: "string" },
  threads: { type: "string" },
  data: { type: "string" },
  model: { type: "string" },
  quantise: { type: "string" },
  kv: { type: "string" },
} as const satisfies ParseArgsConfig["options"];

export interface CommonOptions {
  readonly json: boolean;
  readonly backend: BackendChoice;
  /** null: as many as cores. */
  readonly threads: number | null;
  /** Data folder that was asked for, null for the usual one. */
  readonly data: string | null;
  /** Path of a GGUF file or model folder; null for the model that ships. */
  readonly model: string | null;
  /** What the matrices of a safetensors model become on load; null keeps them as they are. */
  readonly quantise: "q8_0" | null;
  /** How attention's keys and values are kept. */
  readonly kv: KvDtype;
}

type Options = NonNullable<ParseArgsConfig["options"]>;

/**
 * parseArgs with our error.
 * @throws UsageError
 */
export function parse<const O extends Options>(args: readonly string[], options: O) {
  try {
    return parseArgs({
      args: [...args],
      options: { ...commonOptions, ...options },
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? firstSentence(error.message) : String(error));
  }
}

/** parseArgs explains at length how to write a positional that looks like an option. */
function firstSentence(message: string): string {
  return `${message.split(". ")[0] ?? message}.`.replace(/\.\.$/, ".");
}

/** @throws UsageError where a value is none of the allowed ones */
export function readCommon(values: {
  readonly json?: boolean | undefined;
  readonly backend?: string | undefined;
  readonly threads?: string | undefined;
  readonly data?: string | undefined;
  readonly model?: string | undefined;
  readonly quantise?: string | undefined;
  readonly kv?: string | undefined;
}): CommonOptions {
  return {
    json: values.json ?? false,
    backend: values.backend === undefined ? "auto" : backend(values.backend),
    threads: values.threads === undefined ? null : integer("--threads", values.threads, 1, 256),
    data: values.data ?? process.env["TARN_HOME"] ?? null,
    model: values.model ?? null,
    quantise: values.quantise === undefined ? null : quantise(values.quantise),
    kv: values.kv === undefined ? "f32" : kvDtype(values.kv),
  };
}

function quantise(value: string): "q8_0" {
  if (value.toLowerCase() === "q8_0") return "q8_0";
  throw new UsageError(`--quantise is "${value}"; it can be q8_0.`);
}

function kvDtype(value: string): KvDtype {
  if (value === "f32" || value === "f16") return value;
  throw new UsageError(`--kv is "${value}"; it can be f32 or f16.`);
}

function backend(value: string): BackendChoice {
  switch (value) {
    case "auto":
    case "webgpu":
    case "wasm":
    case "reference":
      return value;
    default:
      throw new UsageError(`--backend is "${value}"; it can be auto, webgpu, wasm or reference.`);
  }
}

/** @throws UsageError unless `value` is a whole number in [min, max] */
export function integer(option: string, value: string, min: number, max: number): number {
  const number = /^\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= min && number <= max)) {
    throw new UsageError(
      `${option} is "${value}"; it must be a whole number from ${min} to ${max}.`,
    );
  }
  return number;
}

/** @throws UsageError unless `value` is a list like 512,2048 */
export function integers(option: string, value: string, min: number, max: number): number[] {
  return value.split(",").map((part) => integer(option, part.trim(), min, max));
}

/** @throws UsageError where the option was not given */
export function required(option: string, value: string | undefined): string {
  if (value === undefined || value === "") throw new UsageError(`${option} is missing.`);
  return value;
}
