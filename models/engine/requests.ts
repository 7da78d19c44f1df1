import type {
  EngineMethods,
  EngineRequest,
  ModelFile,
  Precision,
  SamplerOptions,
} from "./protocol.ts";
import { EngineFault } from "./failure.ts";

/** A request whose method and id are known, before its input is looked at. */
export interface RawRequest {
  readonly id: number;
  readonly method: string;
  readonly input: Readonly<Record<string, unknown>>;
}

/** The envelope of a message, or null where there is not even an id to answer to. */
export function readEnvelope(message: unknown): RawRequest | null {
  if (!isRecord(message)) return null;
  const { id, method, input } = message;
  if (typeof id !== "number" || !Number.isSafeInteger(id) || typeof method !== "string")
    return null;
  return { id, method, input: isRecord(input) ? input : {} };
}

/**
 * A request of the protocol with its input checked field by field.
 * @throws EngineFault `bad-request` naming method and field
 */
export function readRequest({ id, method, input }: RawRequest): EngineRequest {
  const field = createReader(method, input);
  switch (method) {
    case "load":
      return {
        id,
        method,
        input: {
          files: field("files", isFiles, "a list of files"),
          backend: field("backend", isBackendChoice, "auto, webgpu, wasm or reference"),
          quantise: field("quantise", isQuantise, "q8_0 or null"),
          kvDtype: field("kvDtype", isKvDtype, "f32 or f16"),
          threads: field("threads", isThreads, "1 to 256, or null"),
        },
      };
    case "inspect":
      return { id, method, input: { files: field("files", isFiles, "a list of files") } };
    case "unload":
    case "create":
    case "memory":
    case "devices":
      return { id, method, input: {} };
    case "free":
    case "fork":
      return { id, method, input: { session: field("session", isCount, "a session") } };
    case "prefill":
      return {
        id,
        method,
        input: {
          session: field("session", isCount, "a session"),
          ids: field("ids", isIds, "an Int32Array"),
          chunk: field("chunk", isChunk, "1 to 65536, or null"),
          logits: field("logits", isLogitsMode, "none, last or all"),
        },
      };
    case "generate":
      return {
        id,
        method,
        input: {
          session: field("session", isCount, "a session"),
          sampler: field("sampler", isSampler, "sampler options, all of them finite numbers"),
          stopIds: field("stopIds", isStopIds, "a list of ids"),
          maxTokens: field("maxTokens", isCount, "a count"),
          keepLogits: field("keepLogits", isBoolean, "a switch"),
        },
      };
    case "prefillMany":
      return {
        id,
        method,
        input: {
          sessions: field("sessions", isDifferentSessions, "a list of different sessions"),
          ids: field("ids", isIdLists, "a list of Int32Arrays"),
          chunk: field("chunk", isChunk, "1 to 65536, or null"),
        },
      };
    case "generateMany":
      return {
        id,
        method,
        input: {
          sessions: field("sessions", isDifferentSessions, "a list of different sessions"),
          samplers: field("samplers", isSamplers, "a list of sampler options"),
          stopIds: field("stopIds", isStopIds, "a list of ids"),
          maxTokens: field("maxTokens", isCount, "a count"),
          activations: field("activations", isPrecisionOrNull, "int16, int8 or null"),
        },
      };
    case "score":
      return {
        id,
        method,
        input: {
          session: field("session", isCount, "a session"),
          ids: field("ids", isIds, "an Int32Array"),
        },
      };
    case "scoreMany":
      return {
        id,
        method,
        input: {
          sessions: field("sessions", isSessions, "a list of sessions"),
          ids: field("ids", isIdLists, "a list of Int32Arrays"),
        },
      };
    case "memoryMap":
      return {
        id,
        method,
        input: {
          ids: field("ids", isIds, "an Int32Array"),
          map: field("map", isCountOrNull, "a map, or null"),
        },
      };
    case "dropMap":
      return { id, method, input: { map: field("map", isCount, "a map") } };
    case "snapshot":
      return {
        id,
        method,
        input: {
          session: field("session", isCount, "a session"),
          tokenizerHash: field("tokenizerHash", isHash, "a SHA-256 in hex"),
          pages: field("pages", isPages, "all or new"),
        },
      };
    case "restore":
      return {
        id,
        method,
        input: {
          bytes: field("bytes", isBytes, "a Uint8Array"),
          tokenizerHash: field("tokenizerHash", isHash, "a SHA-256 in hex"),
          recent: field("recent", isIds, "an Int32Array"),
        },
      };
    case "profile":
      return { id, method, input: { on: field("on", isBoolean, "a switch") } };
    case "cancel":
      return { id, method, input: { target: field("target", isCount, "the id of a request") } };
    default:
      throw new EngineFault("bad-request", `The engine has no method "${method}".`, { method });
  }
}

function createReader(method: string, input: RawRequest["input"]) {
  return <T>(name: string, is: (value: unknown) => value is T, expected: string): T => {
    const value = input[name];
    if (is(value)) return value;
    throw new EngineFault("bad-request", `${method}: "${name}" must be ${expected}.`, {
      method,
      field: name,
    });
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === "boolean";
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isCountOrNull(value: unknown): value is number | null {
  return value === null || isCount(value);
}

function isThreads(value: unknown): value is number | null {
  return value === null || (isCount(value) && value >= 1 && value <= 256);
}

function isChunk(value: unknown): value is number | null {
  return value === null || (isCount(value) && value >= 1 && value <= 65_536);
}

function isIds(value: unknown): value is Int32Array {
  return value instanceof Int32Array;
}

function isIdLists(value: unknown): value is Int32Array[] {
  return Array.isArray(value) && value.every(isIds);
}

function isSessions(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every(isCount);
}

function isDifferentSessions(value: unknown): value is number[] {
  return isSessions(value) && new Set(value).size === value.length;
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

function isStopIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isCount);
}

function isHash(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isBackendChoice(value: unknown): value is "auto" | "webgpu" | "wasm" | "reference" {
  return value === "auto" || value === "webgpu" || value === "wasm" || value === "reference";
}

function isKvDtype(value: unknown): value is EngineMethods["load"]["in"]["kvDtype"] {
  return value === "f32" || value === "f16";
}

function isQuantise(value: unknown): value is "q8_0" | null {
  return value === null || value === "q8_0";
}

function isPrecisionOrNull(value: unknown): value is Precision | null {
  return value === null || value === "int16" || value === "int8";
}

function isPages(value: unknown): value is "all" | "new" {
  return value === "all" || value === "new";
}

function isLogitsMode(value: unknown): value is "none" | "last" | "all" {
  return value === "none" || value === "last" || value === "all";
}

function isFiles(value: unknown): value is ModelFile[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every(
      (file) =>
        isRecord(file) &&
        typeof file["name"] === "string" &&
        typeof file["open"] === "string" &&
        isCount(file["bytes"]),
    )
  );
}

const samplerNumbers = [
  "temperature",
  "topK",
  "topP",
  "minP",
  "repetitionPenalty",
  "repetitionWindow",
  "seed",
] as const satisfies readonly (keyof SamplerOptions)[];

function isSampler(value: unknown): value is SamplerOptions {
  return isRecord(value) && samplerNumbers.every((name) => Number.isFinite(value[name]));
}

function isSamplers(value: unknown): value is SamplerOptions[] {
  return Array.isArray(value) && value.every(isSampler);
}
