/** Random numbers that are the same in every run. */
export interface Seeded {
  /** In [0, 1). */
  next(): number;
  /** `count` values in [low, high), f32. */
  uniform(count: number, low: number, high: number): Float32Array;
  /** `count` values of the standard normal distribution times `scale`, f32. */
  normal(count: number, scale?: number): Float32Array;
  /** `count` whole numbers in 0 … below − 1. */
  integers(count: number, below: number): Int32Array;
}

/** A generator for tests: a 32-bit Weyl sequence through a multiply-and-shift hash; not for anything secret. */
export function seeded(seed: number): Seeded {
  let weyl = seed >>> 0;
  function next(): number {
    weyl = (weyl + 0x9e3779b9) >>> 0;
    let hash = weyl;
    hash = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad);
    hash = Math.imul(hash ^ (hash >>> 15), 0x735a2d97);
    return ((hash ^ (hash >>> 15)) >>> 0) / 2 ** 32;
  }
  return {
    next,
    uniform: (count, low, high) =>
      Float32Array.from({ length: count }, () => low + (high - low) * next()),
    normal: (count, scale = 1) =>
      // Box and Muller; 1 − next() is never 0.
      Float32Array.from(
        { length: count },
        () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
      ),
    integers: (count, below) =>
      Int32Array.from({ length: count }, () => Math.floor(next() * below)),
  };
}
