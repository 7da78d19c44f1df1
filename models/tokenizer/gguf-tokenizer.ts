/**
 * GGUF metadata → the object of a tokenizer.json, so that one tokenizer library serves both formats. Pure: knows
 * neither the library nor files. GGUF carries the vocabulary and merges; how text is cut up before merging is only
 * named (`tokenizer.ggml.pre`) and has to be known here. Source: llama.cpp, src/llama-vocab.cpp.
 */

/** What GGUF metadata gives under a key; see models/weights/gguf-metadata.ts. */
type Value = number | bigint | boolean | string | readonly Value[];
type Metadata = ReadonlyMap<string, Value>;

export type TokenizerErrorCode = "missing" | "unsupported" | "malformed";

/** Metadata that gives no tokenizer: none is there (`missing`), or one of a kind that Tarn does not know. */
export class TokenizerError extends Error {
  override readonly name = "TokenizerError";
  readonly code: TokenizerErrorCode;
  /** The metadata key that it is about. */
  readonly key: string;

  constructor(code: TokenizerErrorCode, key: string, message: string) {
    super(message);
    this.code = code;
    this.key = key;
  }
}

/** An added token as in tokenizer.json. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** The tokenizer.json object; its form is that of the Hugging Face tokenizers library. */
export interface TokenizerJson {
  readonly version: "1.0";
  readonly truncation: null;
  readonly padding: null;
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: object | null;
  readonly pre_tokenizer: object;
  readonly post_processor: object | null;
  readonly decoder: object;
  readonly model: object;
}

/** Token types of ggml. */
const CONTROL = 3;
const USER_DEFINED = 4;

/** More than any vocabulary, little enough for memory. */
const MAX_TOKENS = 2_000_000;

/** How text is cut before merging, by `tokenizer.ggml.pre`; null is GPT-2's own expression, built into ByteLevel. */
const LLAMA3_SPLIT = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const QWEN2_SPLIT = LLAMA3_SPLIT.replace(String.raw`\p{N}{1,3}`, String.raw`\p{N}`);
const SPLITS: ReadonlyMap<
  string,
  { readonly split: string | null; readonly nfc: boolean; readonly ignoreMerges: boolean }
> = new Map([
  ["gpt-2", { split: null, nfc: false, ignoreMerges: false }],
  ["default", { split: null, nfc: false, ignoreMerges: false }],
  ["mpt", { split: null, nfc: true, ignoreMerges: false }],
  ["olmo", { split: null, nfc: true, ignoreMerges: false }],
  ["llama-bpe", { split: LLAMA3_SPLIT, nfc: false, ignoreMerges: true }],
  ["falcon3", { split: LLAMA3_SPLIT, nfc: false, ignoreMerges: true }],
  ["qwen2", { split: QWEN2_SPLIT, nfc: true, ignoreMerges: false }],
]);

/**
 * Builds tokenizer.json from `tokenizer.ggml.*`. Understands byte-level BPE ("gpt2").
 * @throws TokenizerError
 */
export function ggufTokenizer(metadata: Metadata): TokenizerJson {
  const kind = metadata.get("tokenizer.ggml.model");
  if (kind === undefined || kind === "no_vocab" || kind === "none") {
    throw new TokenizerError(
      "missing",
      "tokenizer.ggml.model",
      "The GGUF file carries no tokenizer.",
    );
  }
  if (kind !== "gpt2") {
    throw new TokenizerError(
      "unsupported",
      "tokenizer.ggml.model",
      `The GGUF file's tokenizer is of the kind "${text(kind)}"; Tarn reads "gpt2" (byte-level BPE). A model folder with a tokenizer.json of any kind works.`,
    );
  }
  const pre = metadata.get("tokenizer.ggml.pre") ?? "default";
  const rules = typeof pre === "string" ? SPLITS.get(pre) : undefined;
  if (rules === undefined) {
    throw new TokenizerError(
      "unsupported",
      "tokenizer.ggml.pre",
      `The GGUF file cuts text by the rules "${text(pre)}"; Tarn knows ${[...SPLITS.keys()].join(", ")}.`,
    );
  }
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  if (tokens.length === 0 || tokens.length > MAX_TOKENS) {
    throw new TokenizerError(
      "malformed",
      "tokenizer.ggml.tokens",
      `The GGUF file has ${tokens.length} tokens; between 1 and ${MAX_TOKENS} are expected.`,
    );
  }
  const byteLevel = {
    type: "ByteLevel",
    add_prefix_space: metadata.get("tokenizer.ggml.add_space_prefix") === true,
    trim_offsets: true,
    use_regex: rules.split === null,
  };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: addedTokens(metadata, tokens),
    normalizer: rules.nfc ? { type: "NFC" } : null,
    pre_tokenizer:
      rules.split === null
        ? byteLevel
        : {
            type: "Sequence",
            pretokenizers: [
              {
                type: "Split",
                pattern: { Regex: rules.split },
                behavior: "Isolated",
                invert: false,
              },
              byteLevel,
            ],
          },
    post_processor: postProcessor(metadata, tokens),
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rules.ignoreMerges,
      vocab: vocabulary(tokens),
      merges: merges(metadata),
    },
  };
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    if (token in vocab) {
      throw new TokenizerError(
        "malformed",
        "tokenizer.ggml.tokens",
        `The GGUF file has the token ${JSON.stringify(token)} twice, as ${vocab[token]} and as ${id}.`,
      );
    }
    vocab[token] = id;
  });
  return vocab;
}

function merges(metadata: Metadata): readonly (readonly [string, string])[] {
  return strings(metadata, "tokenizer.ggml.merges").map((merge) => {
    // The byte alphabet has no space, so the first one that is not the first character divides.
    const space = merge.indexOf(" ", 1);
    if (space < 1 || space === merge.length - 1) {
      throw new TokenizerError(
        "malformed",
        "tokenizer.ggml.merges",
        `The merge ${JSON.stringify(merge)} is not two tokens with a space between them.`,
      );
    }
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
}

function addedTokens(metadata: Metadata, tokens: readonly string[]): readonly AddedToken[] {
  const types = metadata.get("tokenizer.ggml.token_type");
  if (types === undefined) return [];
  if (!Array.isArray(types) || types.length !== tokens.length) {
    throw new TokenizerError(
      "malformed",
      "tokenizer.ggml.token_type",
      `The GGUF file has ${tokens.length} tokens, but not as many token types.`,
    );
  }
  return tokens.flatMap((content, id) => {
    const type: Value | undefined = types[id];
    // An empty added token would match everywhere.
    if ((type !== CONTROL && type !== USER_DEFINED) || content === "") return [];
    return [
      {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: type === CONTROL,
      },
    ];
  });
}

/** The begin token in front, where the file asks for one. */
function postProcessor(metadata: Metadata, tokens: readonly string[]): object | null {
  if (metadata.get("tokenizer.ggml.add_bos_token") !== true) return null;
  const id = metadata.get("tokenizer.ggml.bos_token_id");
  const bos = typeof id === "number" ? tokens[id] : undefined;
  if (bos === undefined) {
    throw new TokenizerError(
      "malformed",
      "tokenizer.ggml.bos_token_id",
      "The GGUF file asks for a begin token, but names none that it has.",
    );
  }
  return {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [
      { SpecialToken: { id: bos, type_id: 0 } },
      { Sequence: { id: "A", type_id: 0 } },
      { Sequence: { id: "B", type_id: 1 } },
    ],
    special_tokens: { [bos]: { id: bos, ids: [id], tokens: [bos] } },
  };
}

function strings(metadata: Metadata, key: string): readonly string[] {
  const value = metadata.get(key);
  if (!Array.isArray(value) || !value.every((element: Value) => typeof element === "string")) {
    throw new TokenizerError(
      "malformed",
      key,
      `The GGUF file has no list of strings under ${key}.`,
    );
  }
  return value;
}

function text(value: Value): string {
  return String(value).slice(0, 40);
}
