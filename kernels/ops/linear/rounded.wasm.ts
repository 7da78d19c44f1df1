// Rows of x rounded in blocks of 32, in one of four forms. A block is
//
//   f32 scale, i32 sum of its first 16 values, i32 sum of all, f32 −scale · that sum, and the values v:
//   WORDS    32 int16, |v| ≤ 32512 = 127 · 256 (finer than f16)
//   SPLIT    the same v as 32 bytes h, then 32 bytes l, v = 256 h + l: for products of bytes (see wasm/dot.wasm.ts)
//   BYTES    32 int8, |v| ≤ 127: half the products, for long prompts (see docs/decisions/0014-byte-products.md) and for plans
//            that ask for it, however few their rows (0031-bits-of-a-request.md)
//   ALONE    the v of BYTES as SPLIT has them, all h 0: the only row of such a plan, which then is read as any only row, and gives
//            the bits that it would among others
import { multipliesBytes } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";

@inline export const WORDS: i32 = 0;
@inline export const SPLIT: i32 = 1;
@inline export const BYTES: i32 = 2;
@inline export const ALONE: i32 = 3;

/** From so many rows on x is rounded to 8 bits where that is faster: a prompt's. */
@inline const LONG: i32 = 32;

/** Where what a block holds begins in it. */
@inline export const X_HALF_SUM: usize = 4;
@inline export const X_SUM: usize = 8;
@inline export const X_NEGATIVE_SUM: usize = 12;
@inline export const X_VALUES: usize = 16;

/** The form for so many rows. @param bytes 1 where the plan asks for 8 bits whatever their number, else 0 */
export function roundedForm(rows: i32, bytes: i32): i32 {
  if (!multipliesBytes()) return WORDS;
  if (bytes != 0) return rows == 1 ? ALONE : BYTES;
  return rows < LONG ? SPLIT : BYTES;
}

/**
 * The bits of 1.5 · 2^23 as f32: an integer below 2^22 that they are added to is, read as f32, that number and the integer. A float
 * subtraction then makes it f32, where a conversion would take one of the steps a cycle that products of bytes need.
 */
@inline export const MAGIC: i32 = 0x4b400000;

/** Bytes of a block. */
@inline
export function blockBytesOf(form: i32): usize {
  return form == BYTES ? 48 : 80;
}

/** Bytes of a row. */
@inline
export function roundedRowBytes(cols: i32, form: i32): usize {
  return <usize>(cols >> 5) * blockBytesOf(form);
}

// See wasm/math.wasm.ts for why these are no constants.
let magnitude: v128 = i32x4.splat(0);
let magic: v128 = i32x4.splat(0);
let magicBits: v128 = i32x4.splat(0);
let ones: v128 = i32x4.splat(0);
let halfByte: v128 = i32x4.splat(0);
let wholeByte: v128 = i32x4.splat(0);

/** Sets the constants; every thread calls it once, before all else. */
export function prepareRounded(): void {
  magnitude = i32x4.splat(0x7fffffff);
  // 1.5 · 2^23: its sum with a small value holds that value, rounded, in the low bits.
  magic = f32x4.splat(12582912);
  magicBits = i32x4.splat(MAGIC);
  ones = i16x8.splat(1);
  halfByte = i16x8.splat(128);
  wholeByte = f32x4.splat(256);
}

// A function for each form: its steps then have nothing left to look up.
function roundWords(x: usize, blocks: i32, to: usize): void {
  roundRowOf(WORDS, x, blocks, to);
}

function roundSplit(x: usize, blocks: i32, to: usize): void {
  roundRowOf(SPLIT, x, blocks, to);
}

function roundBytes(x: usize, blocks: i32, to: usize): void {
  roundRowOf(BYTES, x, blocks, to);
}

function roundAlone(x: usize, blocks: i32, to: usize): void {
  roundRowOf(ALONE, x, blocks, to);
}

/** Rounds `blocks` blocks of f32. */
export function roundRow(x: usize, blocks: i32, form: i32, to: usize): void {
  if (form == BYTES) roundBytes(x, blocks, to);
  else if (form == SPLIT) roundSplit(x, blocks, to);
  else if (form == ALONE) roundAlone(x, blocks, to);
  else roundWords(x, blocks, to);
}

@inline
function roundRowOf(form: i32, x: usize, blocks: i32, to: usize): void {
  const most: f32 = form == BYTES || form == ALONE ? 127 : 32512;
  // From a half block's values to the next one's.
  const step: usize = form == WORDS ? 32 : 16;
  for (; blocks > 0; blocks--) {
    // Magnitudes are in the order of their bits, as integers, and a NaN is above all of them: it must come out as a NaN.
    let lanes = i32x4.max_s(magnitudeOf(x), magnitudeOf(x + 16));
    const second = i32x4.max_s(magnitudeOf(x + 32), magnitudeOf(x + 48));
    const third = i32x4.max_s(magnitudeOf(x + 64), magnitudeOf(x + 80));
    lanes = i32x4.max_s(i32x4.max_s(lanes, second), i32x4.max_s(third, i32x4.max_s(magnitudeOf(x + 96), magnitudeOf(x + 112))));
    lanes = i32x4.max_s(lanes, v128.shuffle<i32>(lanes, lanes, 2, 3, 0, 1));
    lanes = i32x4.max_s(lanes, v128.shuffle<i32>(lanes, lanes, 1, 0, 3, 2));
    const largest = f32x4.extract_lane(lanes, 0);
    const scale = largest / most;
    // Below 1e-30 the inverse could overflow; such a block is as good as zero.
    const inverse = f32x4.splat(largest < 1e-30 ? 0 : most / largest);
    const first = roundHalf(x, inverse, form, to + X_VALUES);
    const last = roundHalf(x + 64, inverse, form, to + X_VALUES + step);
    const pairs = i32x4.add(v128.shuffle<i32>(first, last, 0, 1, 4, 5), v128.shuffle<i32>(first, last, 2, 3, 6, 7));
    const half = i32x4.extract_lane(pairs, 0) + i32x4.extract_lane(pairs, 1);
    const sum = half + i32x4.extract_lane(pairs, 2) + i32x4.extract_lane(pairs, 3);
    store<f32>(to, scale);
    store<i32>(to, half, X_HALF_SUM);
    store<i32>(to, sum, X_SUM);
    store<f32>(to, -scale * <f32>sum, X_NEGATIVE_SUM);
    x += 128;
    to += blockBytesOf(form);
  }
}

@inline
function magnitudeOf(x: usize): v128 {
  return v128.and(v128.load(x), magnitude);
}

/** Rounds 16 values; the sum of the lanes is theirs. */
@inline
function roundHalf(x: usize, inverse: v128, form: i32, to: usize): v128 {
  const a = rounded(x, inverse), b = rounded(x + 16, inverse), c = rounded(x + 32, inverse), d = rounded(x + 48, inverse);
  const low = i16x8.narrow_i32x4_s(a, b), high = i16x8.narrow_i32x4_s(c, d);
  if (form == BYTES) {
    v128.store(to, i8x16.narrow_i16x8_s(low, high));
  } else if (form != WORDS) {
    const lowH = i16x8.shr_s(i16x8.add(low, halfByte), 8), highH = i16x8.shr_s(i16x8.add(high, halfByte), 8);
    v128.store(to, i8x16.narrow_i16x8_s(lowH, highH));
    v128.store(to, i8x16.narrow_i16x8_s(i16x8.sub(low, i16x8.shl(lowH, 8)), i16x8.sub(high, i16x8.shl(highH, 8))), 32);
  } else {
    v128.store(to, low);
    v128.store(to, high, 16);
  }
  return i32x4.add(i32x4.dot_i16x8_s(low, ones), i32x4.dot_i16x8_s(high, ones));
}

@inline
function rounded(x: usize, inverse: v128): v128 {
  return i32x4.sub(madd(v128.load(x), inverse, magic), magicBits);
}

/** The sums of both bytes of a SPLIT x, 256 h + l, as f32. */
@inline
export function joined(h: v128, l: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.shl(h, 8), l));
}

/** Sums that MAGIC was added to, as f32. */
@inline
export function withoutMagic(sums: v128): v128 {
  return f32x4.sub(sums, magic);
}

/** The same of SPLIT's two sums, 256 h + l rounded once as `joined` rounds it. */
@inline
export function joinedMagic(h: v128, l: v128): v128 {
  return madd(withoutMagic(h), wholeByte, withoutMagic(l));
}
