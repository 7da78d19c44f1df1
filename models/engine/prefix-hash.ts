/**
 * A fingerprint of every token that a sequence was fed: h₀ is 32 zero bytes, hₙ = SHA-256(hₙ₋₁ ‖ idₙ as 4 bytes,
 * little end first). A chain, so that it goes on from a stored state whose ids are not at hand, whatever the pieces
 * in which the tokens came.
 * Source of the hash: FIPS 180-4 §6.2. One step is exactly one 64-byte block: 32 + 4 bytes and the padding.
 */
export class PrefixHash {
  readonly #words: Uint32Array<ArrayBuffer>;

  private constructor(words: Uint32Array<ArrayBuffer>) {
    this.#words = words;
  }

  static empty(): PrefixHash {
    return new PrefixHash(new Uint32Array(8));
  }

  /** @throws RangeError unless `hex` is 64 hexadecimal digits */
  static fromHex(hex: string): PrefixHash {
    if (!/^[0-9a-f]{64}$/.test(hex)) throw new RangeError("a prefix hash is 64 hexadecimal digits");
    return new PrefixHash(
      Uint32Array.from({ length: 8 }, (_, i) => Number.parseInt(hex.slice(8 * i, 8 * i + 8), 16)),
    );
  }

  copy(): PrefixHash {
    return new PrefixHash(this.#words.slice());
  }

  append(ids: Int32Array): void {
    for (const id of ids) {
      block.set(this.#words);
      block[8] = swapBytes(id);
      block[9] = 0x8000_0000;
      block.fill(0, 10, 15);
      block[15] = 36 * 8;
      compress(block, this.#words);
    }
  }

  hex(): string {
    return Array.from(this.#words, (word) => word.toString(16).padStart(8, "0")).join("");
  }
}

const block = new Uint32Array(16);
const schedule = new Uint32Array(64);

/** The first 64 primes: the hash's constants are the fractional parts of their square and cube roots. */
const primes = Array.from({ length: 312 }, (_, n) => n).filter(
  (n) => n > 1 && !Array.from({ length: n }, (_, d) => d).some((d) => d > 1 && n % d === 0),
);
const fraction = (x: number): number => Math.floor((x - Math.floor(x)) * 2 ** 32);
const initial = Uint32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const constants = Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));

function rotate(x: number, bits: number): number {
  return (x >>> bits) | (x << (32 - bits));
}

function swapBytes(x: number): number {
  return ((x & 0xff) << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24);
}

function at(words: Uint32Array, index: number): number {
  return words[index] ?? 0;
}

/** SHA-256 of the single padded block `message`, into `digest`. */
function compress(message: Uint32Array, digest: Uint32Array): void {
  schedule.set(message);
  for (let t = 16; t < 64; t++) {
    const w15 = at(schedule, t - 15);
    const w2 = at(schedule, t - 2);
    const sigma0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
    const sigma1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
    schedule[t] = sigma1 + at(schedule, t - 7) + sigma0 + at(schedule, t - 16);
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = initial;
  for (let t = 0; t < 64; t++) {
    const sum1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const choice = (e & f) ^ (~e & g);
    const temporary1 = (h + sum1 + choice + at(constants, t) + at(schedule, t)) | 0;
    const sum0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    [h, g, f, e, d, c, b, a] = [
      g,
      f,
      e,
      (d + temporary1) | 0,
      c,
      b,
      a,
      (temporary1 + sum0 + majority) | 0,
    ];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => {
    digest[i] = at(initial, i) + word;
  });
}
