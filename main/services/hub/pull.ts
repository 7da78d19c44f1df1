/** A model of the hub into the folder of models. */
import { join } from "node:path";
import { TarnError } from "../../contract/errors.ts";
import { download } from "./download.ts";
import type { HubClient, HubFile, HubFiles } from "./hub-client.ts";

/** What is fetched of a model: files that Tarn reads, and what it asks people to read. */
const CONFIGURATION =
  /^((config|generation_config|tokenizer|tokenizer_config|special_tokens_map|params|model\.safetensors\.index)\.json|chat_template\.jinja|tokenizer\.model|rwkv_vocab_v20230424\.txt|LICENSE[^/]*|README\.md)$/;
const SAFETENSORS = /^[^/]+\.safetensors$/;
/** Shards of Hugging Face's layout; a file of all weights may lie beside them. */
const SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/;
const GGUF = /\.gguf$/;

export interface PullProgress {
  readonly file: string;
  readonly fileDone: number;
  readonly fileBytes: number;
  /** Over all files. */
  readonly done: number;
  readonly bytes: number;
}

/**
 * Chooses what to fetch: the GGUF files that `wanted` names (a file, or a part of its name such as "Q4_K_M"), or the
 * safetensors with their configuration.
 * @throws TarnError `bad-request` where the choice is not clear, `not-found` where there is nothing to choose
 */
export function chooseFiles({ name, files }: HubFiles, wanted: string | null): readonly HubFile[] {
  const gguf = files.filter(({ path }) => GGUF.test(path));
  if (wanted !== null) {
    const named = gguf.filter(({ path }) => path.toLowerCase().includes(wanted.toLowerCase()));
    if (named.length === 0)
      throw new TarnError(
        "not-found",
        `${name} has no GGUF file with "${wanted}" in its name. ${listed(gguf)}`,
      );
    if (models(named).length > 1)
      throw new TarnError(
        "bad-request",
        `"${wanted}" fits several files of ${name}. ${listed(named)}`,
      );
    return named;
  }
  const weights = files.filter(({ path }) => SAFETENSORS.test(path));
  const shards = weights.filter(({ path }) => SHARD.test(path));
  const single = weights.filter(({ path }) => path === "model.safetensors");
  const chosen = shards.length > 0 ? shards : single.length > 0 ? single : weights;
  if (chosen.length > 0)
    return [...files.filter(({ path }) => CONFIGURATION.test(path)), ...chosen];
  if (models(gguf).length === 1) return gguf;
  if (gguf.length > 0)
    throw new TarnError("bad-request", `${name} has several GGUF files; name one. ${listed(gguf)}`);
  throw new TarnError(
    "not-found",
    `${name} has neither safetensors nor GGUF files; Tarn does not read other kinds (a .bin or .pth file can run code).`,
  );
}

/**
 * Fetches the files to `folder`, one after the other; what is there already is kept.
 * @throws TarnError as `download` does
 */
export async function pull(
  client: Pick<HubClient, "headers">,
  files: readonly HubFile[],
  folder: string,
  {
    signal,
    onProgress,
  }: { readonly signal: AbortSignal; onProgress(progress: PullProgress): void },
): Promise<void> {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  let before = 0;
  for (const file of files) {
    await download(file, join(folder, ...file.path.split("/")), {
      signal,
      headers: client.headers,
      onProgress: (fileDone) =>
        onProgress({
          file: file.path,
          fileDone,
          fileBytes: file.bytes,
          done: before + fileDone,
          bytes,
        }),
    });
    before += file.bytes;
  }
}

/** GGUF files without the numbers of their parts. */
function models(files: readonly HubFile[]): readonly string[] {
  return [...new Set(files.map(({ path }) => path.replace(/-\d{5}-of-\d{5}\.gguf$/, ".gguf")))];
}

function listed(files: readonly HubFile[]): string {
  return files.length === 0
    ? "It has none."
    : `There are: ${files.map(({ path, bytes }) => `${path} (${bytes} bytes)`).join(", ")}.`;
}
