import { createHash } from "node:crypto";
import { Tokenizer as NativeTokenizer } from "@anush008/tokenizers";
import { TarnError } from "../../contract/errors.ts";
import {
  controlTokens,
  dependsOnPosition,
  tokenizerJsonSchema,
  withoutControls,
  type ControlToken,
  type TokenizerJson,
} from "./tokenizer-json.ts";

/** Text ↔ token ids of one model. Work runs on the library's own threads, never on the caller's. */
export interface Tokenizer {
  /** SHA-256 (hex) of the tokenizer.json text; states are bound to it. */
  readonly hash: string;
  /** Tokens, the added ones included. */
  readonly vocabSize: number;
  /** Tokens that structure a conversation; ordinary text cannot produce them through `encodeText`. */
  readonly controls: readonly ControlToken[];
  /**
   * As the model's authors encode: control tokens written out in the text become those tokens.
   * Never for what a user typed or a document contains.
   * @param options.special adds what the post-processor puts around a text (a begin token)
   */
  encode(text: string, options: { readonly special: boolean }): Promise<Int32Array>;
  /**
   * Text as nothing but text: "<|end|>" becomes the characters, not the token.
   * @param options.first whether it begins the sequence
   */
  encodeText(text: string, options: { readonly first: boolean }): Promise<Int32Array>;
  decode(ids: ArrayLike<number>, options: { readonly skipSpecial: boolean }): Promise<string>;
  /** The id of a token by its exact content; null if there is none. */
  specialId(content: string): number | null;
  /** A token's stored form ("Ġthe"); null for an id beyond the vocabulary. */
  token(id: number): string | null;
}

/**
 * Makes a tokenizer from the text of a tokenizer.json.
 * @param template the chat template's source: added tokens that it uses count as control tokens
 * @throws TarnError `no-tokenizer` if the text is none
 */
export function createTokenizer(text: string, template: string | null): Tokenizer {
  const json = parse(text);
  const controls = controlTokens(json, template);
  const native = build(text);
  // Built on first use: `tokenize` and `detokenize` never need them.
  const plain = { first: null as NativeTokenizer | null, rest: null as NativeTokenizer | null };
  function plainTokenizer(first: boolean): NativeTokenizer {
    const key = first || !dependsOnPosition(json) ? "first" : "rest";
    plain[key] ??= build(JSON.stringify(withoutControls(json, controls, key === "first")));
    return plain[key];
  }
  return {
    hash: createHash("sha256").update(text).digest("hex"),
    vocabSize: native.getVocabSize(true),
    controls,
    async encode(input, { special }) {
      return encodeWith(native, input, special);
    },
    async encodeText(input, { first }) {
      return input === "" ? new Int32Array(0) : encodeWith(plainTokenizer(first), input, false);
    },
    async decode(ids, { skipSpecial }) {
      // The library reads ids as unsigned; a negative one would wrap round.
      return native.decode(
        Array.from(ids).filter((id) => id >= 0),
        skipSpecial,
      );
    },
    specialId: (content) => native.tokenToId(content),
    token: (id) => (id >= 0 ? native.idToToken(id) : null),
  };
}

async function encodeWith(
  native: NativeTokenizer,
  text: string,
  special: boolean,
): Promise<Int32Array> {
  try {
    const encoding = await native.encode(text, null, { addSpecialTokens: special });
    return Int32Array.from(encoding.getIds());
  } catch (error) {
    // A vocabulary without a token for what it does not know.
    throw broken(error instanceof Error ? error.message : String(error), error);
  }
}

function parse(text: string): TokenizerJson {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw broken("it is not JSON", error);
  }
  const parsed = tokenizerJsonSchema.safeParse(json);
  if (!parsed.success)
    throw broken(parsed.error.issues[0]?.message ?? "its form is unknown", parsed.error);
  return parsed.data;
}

function build(text: string): NativeTokenizer {
  try {
    const native = NativeTokenizer.fromString(text);
    // A tokenizer.json may carry the settings of its last training run; whole texts are wanted, neither cut nor filled up.
    native.disableTruncation();
    native.disablePadding();
    return native;
  } catch (error) {
    throw broken(error instanceof Error ? error.message : String(error), error);
  }
}

function broken(reason: string, cause: unknown): TarnError {
  return new TarnError(
    "no-tokenizer",
    `The model's tokenizer cannot be used: ${reason}. The model still works on token ids.`,
    {},
    cause,
  );
}
