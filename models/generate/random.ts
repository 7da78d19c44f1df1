/**
 * A seeded source of random numbers: xoshiro128** 1.1, its state filled by SplitMix64.
 * Source: Blackman and Vigna, https://prng.di.unimi.it (xoshiro128starstar.c, splitmix64.c).
 */
export type RandomState = readonly [number, number, number, number];

const MASK64 = (1n << 64n) - 1n;

/** The state for a seed, an integer from 0 to 2^53 - 1. */
export function seedState(seed: number): RandomState {
  const [low, high] = splitMix64(BigInt(seed));
  return [
    Number(low & 0xffff_ffffn),
    Number(low >> 32n),
    Number(high & 0xffff_ffffn),
    Number(high >> 32n),
  ];
}

/** The first two outputs of SplitMix64. */
export function splitMix64(seed: bigint): readonly [bigint, bigint] {
  const step = 0x9e37_79b9_7f4a_7c15n;
  return [mix((seed + step) & MASK64), mix((seed + 2n * step) & MASK64)];
}

function mix(z: bigint): bigint {
  const a = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK64;
  const b = ((a ^ (a >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK64;
  return b ^ (b >> 31n);
}

/** One step: a 32-bit output and the state after it. */
export function nextUint32([s0, s1, s2, s3]: RandomState): readonly [
  value: number,
  next: RandomState,
] {
  const value = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
  const c = s2 ^ s0;
  const d = s3 ^ s1;
  return [value, [(s0 ^ d) >>> 0, (s1 ^ c) >>> 0, (c ^ (s1 << 9)) >>> 0, rotateLeft(d, 11) >>> 0]];
}

/** One step: a number in [0, 1) with 53 random bits, and the state after it. */
export function nextUnit(state: RandomState): readonly [value: number, next: RandomState] {
  const [high, between] = nextUint32(state);
  const [low, next] = nextUint32(between);
  return [((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53, next];
}

function rotateLeft(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
