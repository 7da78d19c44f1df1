/**
 * The "world" tokenizers of RWKV: a list of byte strings, of which always the longest that fits comes next. Read from
 * the author's `rwkv_vocab_v….txt` or from GGUF, as an object in the form of tokenizer.json whose model has the type
 * "RWKV" and as vocabulary pairs of a token, in the alphabet of byte-alphabet.ts, and its id. Source: BlinkDL/RWKV-LM, rwkv_tokenizer.py; llama.cpp,
 * src/llama-vocab.cpp.
 */
import { spell } from "./byte-alphabet.ts";
import {
  addedTokens,
  TokenizerError,
  tokensOf,
  type AddedToken,
  type Metadata,
  type TokenizerJson,
} from "./tokenizer-metadata.ts";

/** What Hugging Face's wrapper calls the token 0, which the author's file does not list: the end of a text. */
const END_OF_TEXT = "<|rwkv_tokenizer_end_of_text|>";
/** More than any vocabulary, little enough for memory. */
const MAX_TOKENS = 2_000_000;
/** Of a token as it is written, escapes and all. The longest of the published ones are some hundreds. */
const MAX_LENGTH = 16_384;

/** A token that a folder's tokenizer_config.json adds to the vocabulary. */
export interface RwkvAddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/**
 * @param text the vocabulary file: a line a token, its id, the string or bytes as Python writes them, the number of bytes
 * @param added counts only where neither id nor text is in the vocabulary: a wrapper's second id for "\n\n" was never
 *   trained
 * @param file its name, for errors
 * @throws TokenizerError `malformed`
 */
export function rwkvTokenizer(
  text: string,
  added: readonly RwkvAddedToken[],
  file: string,
): TokenizerJson {
  const lines = text.split(/\r\n|[\r\n]/).filter((line) => line !== "");
  const vocab = new Vocabulary(file);
  for (const [index, line] of lines.entries()) {
    const parts = /^(\d{1,8}) (.+) (\d{1,8})$/su.exec(line);
    const bytes = parseLiteral(parts?.[2] ?? "");
    if (parts === null || bytes === null || bytes.length !== Number(parts[3])) {
      const expected = "an id, a Python string or bytes, and the number of its bytes";
      throw malformed(file, `line ${index + 1} is not ${expected}: ${line.slice(0, 80)}`);
    }
    vocab.add(Number(parts[1]), bytes);
  }
  const encoder = new TextEncoder();
  const special = [...added, { id: 0, content: END_OF_TEXT, special: true }]
    .filter(
      ({ id, content }, index, all) =>
        content !== "" &&
        !vocab.hasId(id) &&
        !vocab.has(encoder.encode(content)) &&
        all.findIndex((other) => other.id === id) === index,
    )
    .map(addedToken);
  return tokenizerJson(vocab, special);
}

/**
 * `tokenizer.ggml.model` "rwkv". Only ordinary tokens are ever found in a text: padding that fills a vocabulary up was never
 * trained.
 * @throws TokenizerError `missing`, `malformed`
 */
export function ggufRwkv(metadata: Metadata): TokenizerJson {
  const key = "tokenizer.ggml.tokens";
  const tokens = tokensOf(metadata);
  const special = addedTokens(metadata, tokens).filter((token) => token.special);
  const types = metadata.get("tokenizer.ggml.token_type");
  const skipped = new Set(special.map(({ id }) => id));
  const vocab = new Vocabulary(key);
  for (const [id, escaped] of tokens.entries()) {
    const unused = Array.isArray(types) && types[id] === UNUSED;
    if (escaped.length > MAX_LENGTH)
      throw malformed(key, `the token ${id} has ${escaped.length} characters`);
    if (!unused && !skipped.has(id)) vocab.add(id, unescapeGguf(escaped));
  }
  return tokenizerJson(vocab, special);
}

/** Token type of ggml. */
const UNUSED = 5;

/** Byte strings with their ids, each once. */
class Vocabulary {
  readonly spelled = new Map<string, number>();
  readonly #source: string;
  readonly #ids = new Set<number>();

  constructor(source: string) {
    this.#source = source;
  }

  add(id: number, bytes: Uint8Array): void {
    const token = spell(bytes);
    if (token === "") throw malformed(this.#source, `the token ${id} is empty`);
    if (this.#ids.has(id)) throw malformed(this.#source, `the id ${id} is there twice`);
    if (this.spelled.has(token))
      throw malformed(this.#source, `the token ${JSON.stringify(token)} is there twice`);
    if (id >= MAX_TOKENS) throw malformed(this.#source, `the id ${id} is not below ${MAX_TOKENS}`);
    this.spelled.set(token, id);
    this.#ids.add(id);
  }

  has(bytes: Uint8Array): boolean {
    return this.spelled.has(spell(bytes));
  }

  hasId(id: number): boolean {
    return this.#ids.has(id);
  }
}

function tokenizerJson(vocab: Vocabulary, added: readonly AddedToken[]): TokenizerJson {
  for (let byte = 0; byte < 256; byte++) {
    if (!vocab.has(Uint8Array.of(byte)))
      throw malformed("vocabulary", `it has no token for the single byte ${byte}`);
  }
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "RWKV", vocab: [...vocab.spelled] },
  };
}

function addedToken({ id, content, special }: RwkvAddedToken): AddedToken {
  return {
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special,
  };
}

/** Escapes of one character, as Python's `repr` writes them and as its literals may have them. */
const ESCAPES: Readonly<Record<string, number>> = {
  "\\": 0x5c,
  "'": 0x27,
  '"': 0x22,
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
};
const ESCAPE = /\\(?:([\\'"abfnrtv])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/y;

/** 'a', "a", b'a', b"a" → the bytes; null for what is no such literal. */
function parseLiteral(literal: string): Uint8Array | null {
  if (literal.length > MAX_LENGTH) return null;
  const [, prefix, quote, body] = /^(b?)(['"])(.*)\2$/su.exec(literal) ?? [];
  if (prefix === undefined || quote === undefined || body === undefined) return null;
  const points: number[] = [];
  for (let at = 0; at < body.length;) {
    const point = body.codePointAt(at) ?? 0;
    if (point !== 0x5c) {
      if (body[at] === quote) return null;
      points.push(point);
      at += point > 0xffff ? 2 : 1;
      continue;
    }
    ESCAPE.lastIndex = at;
    const match = ESCAPE.exec(body);
    if (match === null) return null;
    const [text, character, ...hex] = match;
    const code = hex.find((digits) => digits !== undefined);
    points.push(
      character === undefined ? Number.parseInt(code ?? "", 16) : (ESCAPES[character] ?? 0),
    );
    at += text.length;
  }
  if (prefix === "b") return points.every((point) => point < 256) ? Uint8Array.from(points) : null;
  if (points.some((point) => point > 0x10ffff)) return null;
  return new TextEncoder().encode(String.fromCodePoint(...points));
}

/** As llama.cpp reads tokens: \t, \n, \r, \xff, and a backslash before any other character for itself. */
function unescapeGguf(escaped: string): Uint8Array {
  const pieces = escaped.split(/(\\(?:x[0-9a-f]{2}|[^x]))/su);
  const encoder = new TextEncoder();
  const bytes: number[] = [];
  for (const [index, piece] of pieces.entries()) {
    if (index % 2 === 0) bytes.push(...encoder.encode(piece));
    else if (piece.startsWith("\\x")) bytes.push(Number.parseInt(piece.slice(2), 16));
    else bytes.push(...encoder.encode(GGUF_ESCAPES[piece] ?? piece.slice(1)));
  }
  return Uint8Array.from(bytes);
}

const GGUF_ESCAPES: Readonly<Record<string, string>> = { "\\t": "\t", "\\n": "\n", "\\r": "\r" };

function malformed(key: string, reason: string): TokenizerError {
  return new TokenizerError("malformed", key, `The RWKV vocabulary cannot be used: ${reason}.`);
}
