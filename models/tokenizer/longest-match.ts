/**
 * Cuts bytes into tokens, always the longest that comes next. The tokens lie sorted, so that those with a common beginning
 * are neighbours: each further byte narrows a range, and the shortest token of a range comes first.
 */
export class LongestMatch {
  /** All tokens, one after the other, in the order of their bytes. */
  readonly #bytes: Uint8Array;
  /** Where each begins, and where the last one ends. */
  readonly #starts: Int32Array;
  readonly #ids: Int32Array;
  /** The first token that begins with each byte, and one for the end. */
  readonly #firsts = new Int32Array(257);

  /** @param tokens not empty, each different */
  constructor(tokens: Iterable<readonly [bytes: Uint8Array, id: number]>) {
    const sorted = [...tokens].toSorted(([a], [b]) => compare(a, b));
    const total = sorted.reduce((sum, [bytes]) => sum + bytes.length, 0);
    this.#bytes = new Uint8Array(total);
    this.#starts = new Int32Array(sorted.length + 1);
    this.#ids = Int32Array.from(sorted, ([, id]) => id);
    let at = 0;
    for (const [i, [bytes]] of sorted.entries()) {
      this.#starts[i] = at;
      this.#bytes.set(bytes, at);
      at += bytes.length;
    }
    this.#starts[sorted.length] = at;
    for (let byte = 0; byte <= 256; byte++)
      this.#firsts[byte] = this.#firstAtLeast(0, sorted.length, 0, byte);
  }

  /** The longest token at `from`: its id and length; length 0 where no token begins so. */
  at(text: Uint8Array, from: number): { readonly id: number; readonly length: number } {
    const first = text[from];
    if (first === undefined) return NONE;
    let low = this.#firsts[first] ?? 0;
    let high = this.#firsts[first + 1] ?? 0;
    let found = NONE;
    for (let depth = 1; low < high; depth++) {
      // The shortest of the range: it may be all that was read so far.
      if (this.#lengthOf(low) === depth) found = { id: this.#ids[low] ?? 0, length: depth };
      const next = text[from + depth];
      if (next === undefined) break;
      const narrowed = this.#firstAtLeast(low, high, depth, next);
      high = this.#firstAtLeast(narrowed, high, depth, next + 1);
      low = narrowed;
    }
    return found;
  }

  /** The first of tokens `low … high - 1`, equal in their first `depth` bytes, whose next byte is at least `byte`. */
  #firstAtLeast(low: number, high: number, depth: number, byte: number): number {
    while (low < high) {
      const middle = (low + high) >>> 1;
      const own =
        this.#lengthOf(middle) > depth
          ? (this.#bytes[(this.#starts[middle] ?? 0) + depth] ?? -1)
          : -1;
      if (own < byte) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #lengthOf(token: number): number {
    return (this.#starts[token + 1] ?? 0) - (this.#starts[token] ?? 0);
  }
}

const NONE = { id: -1, length: 0 };

/** By bytes, a beginning before what it begins. */
function compare(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
