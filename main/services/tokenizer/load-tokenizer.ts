import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { parseConfig } from "../../../models/weights/config.ts";
import { WeightsError } from "../../../models/weights/errors.ts";
import { readGgufMetadata } from "../../../models/weights/gguf.ts";
import type { GgufMetadata } from "../../../models/weights/gguf-metadata.ts";
import { BYTE_VOCABULARY, byteTokenizer } from "../../../models/tokenizer/byte-tokenizer.ts";
import { ggufTokenizer } from "../../../models/tokenizer/gguf-tokenizer.ts";
import { rwkvTokenizer } from "../../../models/tokenizer/rwkv-tokenizer.ts";
import { TokenizerError } from "../../../models/tokenizer/tokenizer-metadata.ts";
import { TarnError } from "../../contract/errors.ts";
import { firstParts } from "../models/model-files.ts";
import { ConversationFormat } from "./conversation.ts";
import { createTokenizer } from "./create-tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The text side of a model. */
export interface LoadedTokenizer {
  readonly tokenizer: Tokenizer;
  readonly format: ConversationFormat;
}

/** Large vocabularies come to about 35 MB. */
const MAX_TOKENIZER_BYTES = 256 * 1024 * 1024;
const MAX_SETTINGS_BYTES = 16 * 1024 * 1024;

/** What is needed to make both parts, wherever it comes from. */
export interface TokenizerFiles {
  readonly json: string;
  readonly template: string | null;
  readonly bos: string;
  readonly eos: string;
}

/**
 * Loads the tokenizer of a GGUF file or a model folder, and the form of its conversations.
 * @throws TarnError `no-tokenizer` if the model has none or one that cannot be used; `weights` for a broken GGUF file;
 *   `not-found` if nothing is there
 */
export async function loadTokenizer(modelPath: string): Promise<LoadedTokenizer> {
  const found = await stat(modelPath).catch((error: unknown) => {
    throw new TarnError(
      "not-found",
      `There is no model at ${modelPath}.`,
      { path: modelPath },
      error,
    );
  });
  const files = found.isDirectory() ? await readFolder(modelPath) : await readGguf(modelPath);
  const tokenizer = createTokenizer(files.json, files.template);
  return {
    tokenizer,
    format: ConversationFormat.create(tokenizer, files.template, {
      bos: files.bos,
      eos: files.eos,
    }),
  };
}

/** As written by transformers: a token is a string or an object with its content. */
const tokenSchema = z
  .union([z.string(), z.looseObject({ content: z.string() }).transform((token) => token.content)])
  .nullish();
const settingsSchema = z.looseObject({
  bos_token: tokenSchema,
  eos_token: tokenSchema,
  chat_template: z
    .union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))])
    .nullish(),
});
type Settings = z.infer<typeof settingsSchema>;

/**
 * What the tokenizer of a model folder is made of.
 * @throws TarnError `no-tokenizer`
 */
export async function readFolder(folder: string): Promise<TokenizerFiles> {
  const json =
    (await readText(join(folder, "tokenizer.json"), MAX_TOKENIZER_BYTES)) ??
    (await readRwkvVocabulary(folder)) ??
    ((await readsBytes(folder)) ? JSON.stringify(byteTokenizer()) : null);
  if (json === null) {
    // A folder may hold one GGUF model instead of a Hugging Face one; its first part describes it.
    const [gguf, another] = firstParts(await readdir(folder));
    if (gguf !== undefined && another === undefined) return readGguf(join(folder, gguf));
    throw new TarnError(
      "no-tokenizer",
      `The model in ${basename(folder)} has no tokenizer.json. It works on token ids only (logits, state, bench, inspect).`,
      { model: basename(folder) },
    );
  }
  const settings = await readSettings(join(folder, "tokenizer_config.json"));
  const names = await readSettings(join(folder, "special_tokens_map.json"));
  return {
    json,
    template:
      (await readText(join(folder, "chat_template.jinja"), MAX_SETTINGS_BYTES)) ??
      defaultTemplate(settings),
    bos: settings.bos_token ?? names.bos_token ?? "",
    eos: settings.eos_token ?? names.eos_token ?? "",
  };
}

/** What a slow tokenizer of transformers adds to its vocabulary, by id. */
const addedSchema = z.record(
  z.string().regex(/^\d{1,8}$/),
  z.looseObject({ content: z.string(), special: z.boolean().default(false) }),
);

/** RWKV's models come with this file and with code that reads it, but no tokenizer.json. Null where there is none. */
async function readRwkvVocabulary(folder: string): Promise<string | null> {
  const name = (await readdir(folder)).find((file) => /^rwkv_vocab_v\d+\.txt$/.test(file));
  const text = name === undefined ? null : await readText(join(folder, name), MAX_TOKENIZER_BYTES);
  if (name === undefined || text === null) return null;
  const settings = await readSettings(join(folder, "tokenizer_config.json"));
  const added = addedSchema.safeParse(settings["added_tokens_decoder"] ?? {});
  if (!added.success) {
    throw new TarnError(
      "no-tokenizer",
      "The added_tokens_decoder of tokenizer_config.json has an unknown form, so the model's tokenizer cannot be used.",
      {},
      added.error,
    );
  }
  const tokens = Object.entries(added.data).map(([id, { content, special }]) => ({
    id: Number(id),
    content,
    special,
  }));
  return asTarnError(() => JSON.stringify(rwkvTokenizer(text, tokens, name)));
}

/** Whether the model's vocabulary is the 256 bytes: such models (MambaByte) come without a tokenizer. */
async function readsBytes(folder: string): Promise<boolean> {
  const text = await readText(join(folder, "config.json"), MAX_SETTINGS_BYTES);
  if (text === null) return false;
  try {
    const config = parseConfig(new TextEncoder().encode(text), "config.json");
    return config["vocab_size"] === BYTE_VOCABULARY;
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    throw new TarnError("weights", error.message, { file: error.file, kind: error.code }, error);
  }
}

function defaultTemplate(settings: Settings): string | null {
  const { chat_template: template } = settings;
  if (template === null || template === undefined) return null;
  return typeof template === "string"
    ? template
    : (template.find(({ name }) => name === "default")?.template ?? null);
}

async function readSettings(path: string): Promise<Settings> {
  const text = await readText(path, MAX_SETTINGS_BYTES);
  if (text === null) return {};
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new TarnError(
      "no-tokenizer",
      `${basename(path)} is not JSON, so the model's tokenizer cannot be used.`,
      {},
      error,
    );
  }
  const settings = settingsSchema.safeParse(json);
  if (!settings.success) {
    throw new TarnError(
      "no-tokenizer",
      `${basename(path)} has an unknown form, so the model's tokenizer cannot be used.`,
      {},
      settings.error,
    );
  }
  return settings.data;
}

async function readGguf(path: string): Promise<TokenizerFiles> {
  const metadata = await readMetadata(path);
  const template = metadata.get("tokenizer.chat_template");
  return {
    json: asTarnError(() => JSON.stringify(ggufTokenizer(metadata))),
    template: typeof template === "string" ? template : null,
    bos: namedToken(metadata, "bos"),
    eos: namedToken(metadata, "eos"),
  };
}

function asTarnError<Result>(build: () => Result): Result {
  try {
    return build();
  } catch (error) {
    if (!(error instanceof TokenizerError)) throw error;
    throw new TarnError("no-tokenizer", error.message, { key: error.key }, error);
  }
}

async function readMetadata(path: string): Promise<GgufMetadata> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const file = {
      name: basename(path),
      bytes: size,
      async read(offset: number, length: number) {
        const { buffer, bytesRead } = await handle.read(new Uint8Array(length), 0, length, offset);
        return buffer.subarray(0, bytesRead);
      },
      close: () => handle.close(),
    };
    return await readGgufMetadata(file);
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    throw new TarnError("weights", error.message, { file: error.file, kind: error.code }, error);
  } finally {
    await handle.close();
  }
}

function namedToken(metadata: GgufMetadata, kind: string): string {
  const id = metadata.get(`tokenizer.ggml.${kind}_token_id`);
  const tokens = metadata.get("tokenizer.ggml.tokens");
  const token = typeof id === "number" && Array.isArray(tokens) ? tokens[id] : undefined;
  return typeof token === "string" ? token : "";
}

/** null where there is no such file. */
async function readText(path: string, maxBytes: number): Promise<string | null> {
  let size: number;
  try {
    ({ size } = await stat(path));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  if (size > maxBytes)
    throw new TarnError(
      "no-tokenizer",
      `${basename(path)} has ${size} bytes; at most ${maxBytes} are read.`,
      { bytes: size },
    );
  return readFile(path, "utf8");
}
