import type { Tokenizer } from "./tokenizer.ts";

/** What a decoder makes of bytes that are no character, or not yet one. */
const REPLACEMENT = "\ufffd";
/** A character is at most four bytes, a byte at most one token; what is still broken after so many stays broken. */
const MAX_PENDING = 32;

/**
 * Turns tokens into text as they come. A piece is held back while its last character is incomplete, so half a
 * character is never shown; pieces joined are the text that decoding all tokens at once gives.
 *
 * Only a few tokens are decoded each time: those of the last piece (a decoder treats the first token of a list
 * differently, and its neighbours must be there) and those not shown yet.
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #skipSpecial: boolean;
  readonly #skipped: ReadonlySet<number>;
  #shown: number[] = [];
  #shownText = "";
  #pending: number[] = [];

  constructor(tokenizer: Tokenizer, options: { readonly skipSpecial: boolean }) {
    this.#tokenizer = tokenizer;
    this.#skipSpecial = options.skipSpecial;
    this.#skipped = new Set(
      options.skipSpecial
        ? tokenizer.controls.filter((token) => token.special).map((token) => token.id)
        : [],
    );
  }

  /** The text that this token completes; null while there is none. Calls must not overlap. */
  async push(id: number): Promise<string | null> {
    // Would only be decoded to nothing, again and again.
    if (this.#skipped.has(id)) return null;
    this.#pending.push(id);
    const text = await this.#decode([...this.#shown, ...this.#pending]);
    const complete =
      text.length > this.#shownText.length &&
      !text.endsWith(REPLACEMENT) &&
      text.startsWith(this.#shownText);
    if (!complete && this.#pending.length < MAX_PENDING) return null;
    return this.#show(text);
  }

  /** What was still held back, at the end: it will not be completed any more. */
  async flush(): Promise<string> {
    if (this.#pending.length === 0) return "";
    return (await this.#show(await this.#decode([...this.#shown, ...this.#pending]))) ?? "";
  }

  async #show(text: string): Promise<string | null> {
    const piece = text.slice(commonPrefix(text, this.#shownText));
    this.#shown = this.#pending;
    this.#pending = [];
    this.#shownText = await this.#decode(this.#shown);
    return piece === "" ? null : piece;
  }

  #decode(ids: readonly number[]): Promise<string> {
    return this.#tokenizer.decode(ids, { skipSpecial: this.#skipSpecial });
  }
}

function commonPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length += 1;
  return length;
}
