/**
 * GGUF metadata → the object of a tokenizer.json, so that one tokenizer library serves both formats. Pure: knows
 * neither the library nor files. Source: llama.cpp, src/llama-vocab.cpp.
 */
import { ggufBpe } from "./gguf-bpe.ts";
import { ggufRwkv } from "./rwkv-tokenizer.ts";
import { ggufSentencePieceBpe, ggufUnigram } from "./gguf-sentencepiece.ts";
import { shown, TokenizerError, type Metadata, type TokenizerJson } from "./tokenizer-metadata.ts";

/** The kinds by `tokenizer.ggml.model`. */
const KINDS: ReadonlyMap<string, (metadata: Metadata) => TokenizerJson> = new Map([
  ["gpt2", ggufBpe],
  ["llama", ggufSentencePieceBpe],
  ["t5", ggufUnigram],
  ["rwkv", ggufRwkv],
]);

/**
 * Builds tokenizer.json from `tokenizer.ggml.*`.
 * @throws TokenizerError
 */
export function ggufTokenizer(metadata: Metadata): TokenizerJson {
  const key = "tokenizer.ggml.model";
  const kind = metadata.get(key);
  if (kind === undefined || kind === "no_vocab" || kind === "none") {
    throw new TokenizerError("missing", key, "The GGUF file carries no tokenizer.");
  }
  const build = typeof kind === "string" ? KINDS.get(kind) : undefined;
  if (build !== undefined) return build(metadata);
  throw new TokenizerError(
    "unsupported",
    key,
    `The GGUF file's tokenizer is of the kind "${shown(kind)}"; Tarn reads ${[...KINDS.keys()].join(", ")}. A model folder with a tokenizer.json of any kind works.`,
  );
}
