/** Most stop strings, and the longest of them in UTF-16 units; longer lists come from no sensible caller. */
export const MAX_STOP_STRINGS = 16;
export const MAX_STOP_LENGTH = 256;

/**
 * Watches streamed text for strings that end an answer. Text that could be the beginning of one is held back until
 * it is decided, so a stop string is never shown, not even in part.
 */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = "";

  /** @throws RangeError for too many, too long or empty strings */
  constructor(stops: readonly string[]) {
    if (
      stops.length > MAX_STOP_STRINGS ||
      stops.some((stop) => stop.length === 0 || stop.length > MAX_STOP_LENGTH)
    ) {
      throw new RangeError(
        `At most ${MAX_STOP_STRINGS} stop strings of 1 to ${MAX_STOP_LENGTH} characters are possible.`,
      );
    }
    this.#stops = stops;
  }

  /** The text that may be shown now; `stopped` once a stop string is complete, and then nothing more may be pushed. */
  push(piece: string): { readonly text: string; readonly stopped: boolean } {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    if (found.length > 0) {
      this.#held = "";
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const hold = this.#possibleStart(text);
    this.#held = text.slice(text.length - hold);
    return { text: text.slice(0, text.length - hold), stopped: false };
  }

  /** What was held back, when the answer ends for another reason. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Length of the longest end of `text` that a stop string begins with. */
  #possibleStart(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
