/** The fields `tokenizer.ggml.*` of a GGUF file, checked as they are read, and the parts that every tokenizer.json has. */

/** What GGUF metadata gives under a key; see models/weights/gguf-metadata.ts. */
export type Value = number | bigint | boolean | string | readonly Value[];
export type Metadata = ReadonlyMap<string, Value>;

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
export interface AddedToken {
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
  readonly pre_tokenizer: object | null;
  readonly post_processor: object | null;
  readonly decoder: object;
  readonly model: object;
}

/** Token types of ggml. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

/** More than any vocabulary, little enough for memory. */
const MAX_TOKENS = 2_000_000;

/** @throws TokenizerError `malformed` */
export function tokensOf(metadata: Metadata): readonly string[] {
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  if (tokens.length === 0 || tokens.length > MAX_TOKENS) {
    throw new TokenizerError(
      "malformed",
      "tokenizer.ggml.tokens",
      `The GGUF file has ${tokens.length} tokens; between 1 and ${MAX_TOKENS} are expected.`,
    );
  }
  return tokens;
}

/** Ids by token. @throws TokenizerError `malformed` for a token that is there twice */
export function vocabulary(tokens: readonly string[]): Record<string, number> {
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

/** A score for each token. @throws TokenizerError `malformed` */
export function scoresOf(metadata: Metadata, tokens: readonly string[]): readonly number[] {
  const scores = metadata.get("tokenizer.ggml.scores");
  if (
    !Array.isArray(scores) ||
    scores.length !== tokens.length ||
    !scores.every((score: Value) => typeof score === "number" && Number.isFinite(score))
  ) {
    throw new TokenizerError(
      "malformed",
      "tokenizer.ggml.scores",
      `The GGUF file has ${tokens.length} tokens, but not as many scores.`,
    );
  }
  return scores;
}

/** Control tokens, the unknown one, and those that their makers added. @throws TokenizerError `malformed` */
export function addedTokens(metadata: Metadata, tokens: readonly string[]): readonly AddedToken[] {
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
    const added = type === CONTROL || type === UNKNOWN || type === USER_DEFINED;
    if (!added || content === "") return [];
    return [
      {
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: type !== USER_DEFINED,
      },
    ];
  });
}

/**
 * Begin and end tokens around a text, where the file asks for them.
 * @param beginByDefault what a file means that says nothing of it
 * @throws TokenizerError `malformed`
 */
export function postProcessor(
  metadata: Metadata,
  tokens: readonly string[],
  beginByDefault: boolean,
): object | null {
  const asked = (key: string, otherwise: boolean): boolean => {
    const value = metadata.get(key);
    return typeof value === "boolean" ? value : otherwise;
  };
  const begin = asked("tokenizer.ggml.add_bos_token", beginByDefault)
    ? specialToken(metadata, tokens, "bos")
    : null;
  const end = asked("tokenizer.ggml.add_eos_token", false)
    ? specialToken(metadata, tokens, "eos")
    : null;
  const used = [begin, end].filter((token) => token !== null);
  if (used.length === 0) return null;
  const piece = (token: SpecialToken | null, type_id: number): readonly object[] =>
    token === null ? [] : [{ SpecialToken: { id: token.content, type_id } }];
  const text = (id: "A" | "B", type_id: number): readonly object[] => [
    ...piece(begin, type_id),
    { Sequence: { id, type_id } },
    ...piece(end, type_id),
  ];
  return {
    type: "TemplateProcessing",
    single: text("A", 0),
    pair: [...text("A", 0), ...text("B", 1)],
    special_tokens: Object.fromEntries(
      used.map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  };
}

interface SpecialToken {
  readonly id: number;
  readonly content: string;
}

function specialToken(
  metadata: Metadata,
  tokens: readonly string[],
  kind: "bos" | "eos",
): SpecialToken {
  const key = `tokenizer.ggml.${kind}_token_id`;
  const id = metadata.get(key);
  const content = typeof id === "number" ? tokens[id] : undefined;
  if (typeof id === "number" && content !== undefined) return { id, content };
  throw new TokenizerError(
    "malformed",
    key,
    `The GGUF file asks for a ${kind === "bos" ? "begin" : "end"} token, but names none that it has.`,
  );
}

/** The token of a piece that no other covers; null where the file names none that it has. */
export function unknownToken(metadata: Metadata, tokens: readonly string[]): SpecialToken | null {
  const id = metadata.get("tokenizer.ggml.unknown_token_id") ?? 0;
  const content = typeof id === "number" ? tokens[id] : undefined;
  return typeof id === "number" && content !== undefined ? { id, content } : null;
}

/** @throws TokenizerError `malformed` */
export function strings(metadata: Metadata, key: string): readonly string[] {
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

/** A value for a message. */
export function shown(value: Value): string {
  return String(value).slice(0, 40);
}
