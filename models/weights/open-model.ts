import { eosIds, MAX_CONFIG_BYTES, parseConfig } from "./config.ts";
import { WeightsError } from "./errors.ts";
import type { GgufMetadata, GgufValue } from "./gguf-metadata.ts";
import { openGguf } from "./gguf.ts";
import { modelIdentity } from "./identity.ts";
import type { JsonObject } from "./json.ts";
import { modelTypeOf } from "./model-type.ts";
import { hintsOfConfig, hintsOfGguf, type SamplerHints } from "./sampler-hints.ts";
import { openSafetensors, openShards } from "./safetensors.ts";
import type { RandomAccessFile, TensorSource } from "./source.ts";
import { readExactly, type StoredTensors } from "./stored-tensors.ts";

/** What a model says of its shape, before an architecture has looked at it. */
export type ModelConfig =
  /** config.json; infinities are numbers. */
  | { readonly format: "safetensors"; readonly modelType: string; readonly json: JsonObject }
  /** GGUF metadata, `modelType` being general.architecture: "mamba2.ssm.conv_kernel" and so on. */
  | { readonly format: "gguf"; readonly modelType: string; readonly metadata: GgufMetadata };

/** A model whose headers have been read and checked; its tensors are still in the files. */
export interface OpenedModel {
  readonly name: string;
  readonly config: ModelConfig;
  readonly tensors: TensorSource;
  /** Ids that end a turn, from the configuration; [] where it names none. */
  readonly stopIds: readonly number[];
  /** How its authors would have it sampled. */
  readonly samplerHints: SamplerHints;
  /** Sentences for the user about what the files say and is not followed. */
  readonly notices: readonly string[];
  /** SHA-256 (hex) that states are bound to. `quantise` is the type that matrices are rounded to on load. */
  identity(quantise: "q8_0" | null): Promise<string>;
  /** Closes all files that were given. */
  close(): Promise<void>;
}

/**
 * Opens a model from its files: one GGUF file or all of its parts, or config.json with model.safetensors or its shards.
 * The files are owned by the result; they are closed when opening fails.
 * @throws WeightsError
 */
export async function openModel(files: readonly RandomAccessFile[]): Promise<OpenedModel> {
  try {
    const gguf = files.filter((file) => file.name.endsWith(".gguf"));
    return gguf.length === 0 ? await openFolder(files) : await openGgufModel(gguf, files);
  } catch (error) {
    await Promise.allSettled(files.map((file) => file.close()));
    throw error;
  }
}

async function openGgufModel(
  gguf: readonly RandomAccessFile[],
  files: readonly RandomAccessFile[],
): Promise<OpenedModel> {
  const { metadata, tensors } = await openGguf(gguf);
  const modelType = metadata.get("general.architecture");
  const fileName = gguf[0]?.name ?? "";
  if (typeof modelType !== "string")
    throw new WeightsError("malformed", {
      file: fileName,
      reason: "general.architecture is missing",
    });
  const name = metadata.get("general.name");
  const { hints, notices } = hintsOfGguf(metadata);
  return {
    name:
      typeof name === "string" && name !== ""
        ? name
        : fileName.replace(/(-\d{5}-of-\d{5})?\.gguf$/, ""),
    config: { format: "gguf", modelType, metadata },
    tensors,
    stopIds: ggufStopIds(metadata),
    samplerHints: hints,
    notices,
    identity: (quantise) =>
      modelIdentity(tensors, new TextEncoder().encode(canonical(metadata)), quantise),
    close: () => closeAll(files),
  };
}

/** Tokens that end a turn under these names. GGUF names one id, where models have several. Source: llama.cpp, llama-vocab.cpp. */
const END_TOKENS: ReadonlySet<GgufValue> = new Set([
  "<|endoftext|>",
  "<|end|>",
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end_of_text|>",
  "<end_of_turn>",
  "</s>",
  "<EOT>",
  "_<EOT>",
  "<|eot|>",
  "[EOT]",
  "[EOS]",
  "<eos>",
  "<end_of_utterance>",
]);
const CONTROL_TOKEN = 3;

function ggufStopIds(metadata: GgufMetadata): readonly number[] {
  const named = ["eos", "eot", "eom"].map((kind) =>
    metadata.get(`tokenizer.ggml.${kind}_token_id`),
  );
  const ids = new Set(
    named.filter((id): id is number => typeof id === "number" && Number.isInteger(id) && id >= 0),
  );
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const types = metadata.get("tokenizer.ggml.token_type");
  if (Array.isArray(tokens) && Array.isArray(types)) {
    tokens.forEach((token, id) => {
      if (types[id] === CONTROL_TOKEN && END_TOKENS.has(token)) ids.add(id);
    });
    // RWKV's "world" vocabularies have no name for the end of a text, which is 0; llama.cpp's files call it "<s>".
    if (metadata.get("tokenizer.ggml.model") === "rwkv" && types[0] === CONTROL_TOKEN) ids.add(0);
  }
  return [...ids];
}

/** The metadata as text, the same for the same values whatever their order. The tokenizer has its own hash. */
function canonical(metadata: GgufMetadata): string {
  const entries = [...metadata].filter(([key]) => !key.startsWith("tokenizer."));
  return JSON.stringify(
    entries.toSorted(([a], [b]) => (a < b ? -1 : 1)),
    (_, value: GgufValue) => (typeof value === "bigint" ? `${value}n` : value),
  );
}

async function openFolder(files: readonly RandomAccessFile[]): Promise<OpenedModel> {
  const byName = new Map(files.map((file) => [file.name, file]));
  const { configFile, weights } = folderLayout(byName);
  const configBytes = await readSmall(configFile);
  const json = parseConfig(configBytes, configFile.name);
  const generationFile = byName.get("generation_config.json");
  const generation =
    generationFile === undefined
      ? null
      : parseConfig(await readSmall(generationFile), generationFile.name);
  const tensors = await openTensors(byName, weights);
  const name = json["_name_or_path"];
  const { hints, notices } = hintsOfConfig(generation);
  return {
    name: typeof name === "string" ? name : "",
    config: {
      format: "safetensors",
      modelType: modelTypeOf(json),
      json,
    },
    tensors,
    stopIds: [...new Set([...(generation === null ? [] : eosIds(generation)), ...eosIds(json)])],
    samplerHints: hints,
    notices,
    identity: (quantise) => modelIdentity(tensors, configBytes, quantise),
    close: () => closeAll(files),
  };
}

/** What a folder calls its configuration and its weights. */
interface FolderLayout {
  readonly config: string;
  readonly weights: string;
}

/** Hugging Face's layout, Mistral's, and a mixture of both; the first whose files are there is taken. */
const LAYOUTS: readonly FolderLayout[] = [
  { config: "config.json", weights: "model" },
  { config: "params.json", weights: "consolidated" },
  { config: "config.json", weights: "consolidated" },
];

function folderLayout(files: ReadonlyMap<string, RandomAccessFile>): {
  configFile: RandomAccessFile;
  weights: string;
} {
  const hasWeights = ({ weights }: FolderLayout): boolean =>
    files.has(`${weights}.safetensors`) || files.has(`${weights}.safetensors.index.json`);
  const complete = LAYOUTS.find((layout) => files.has(layout.config) && hasWeights(layout));
  const configFile = files.get((complete ?? LAYOUTS[0])?.config ?? "");
  if (configFile === undefined)
    throw new WeightsError("missing", {
      file: "config.json",
      reason: "the model folder has neither a config.json nor a GGUF file",
    });
  return { configFile, weights: complete?.weights ?? "model" };
}

async function openTensors(
  files: ReadonlyMap<string, RandomAccessFile>,
  weights: string,
): Promise<StoredTensors> {
  const single = files.get(`${weights}.safetensors`);
  if (single !== undefined) return openSafetensors(single);
  const index = files.get(`${weights}.safetensors.index.json`);
  if (index !== undefined) return openShards(await readSmall(index), index.name, files);
  throw new WeightsError("missing", {
    file: "model.safetensors",
    reason: "the model folder has neither this file nor model.safetensors.index.json",
  });
}

async function readSmall(file: RandomAccessFile): Promise<Uint8Array> {
  if (file.bytes > MAX_CONFIG_BYTES)
    throw new WeightsError("malformed", {
      file: file.name,
      reason: "the file is too large for a configuration",
      expected: `at most ${MAX_CONFIG_BYTES} bytes`,
      actual: file.bytes,
    });
  return readExactly(file, 0, file.bytes);
}

async function closeAll(files: readonly RandomAccessFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
