import type { ControlToken } from "./tokenizer-json.ts";

/** Text ↔ token ids of one model. Work never holds the caller's thread up: it runs on the library's own threads, or in short pieces. */
export interface Tokenizer {
  /** SHA-256 (hex) of the tokenizer.json text; states are bound to it. */
  readonly hash: string;
  /** Tokens, the added ones included. */
  readonly vocabSize: number;
  /** Tokens that structure a conversation; ordinary text cannot produce them through `encodeText`. */
  readonly controls: readonly ControlToken[];
  /** Ids that end a text by the tokenizer's own rules, whatever the model's configuration names. */
  readonly endIds: readonly number[];
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
