// Rows of x rounded in blocks of 32, in one of three forms. A block is
//
//   f32 scale, i32 sum of its first 16 values, i32 sum of all, f32 −scale · that sum, and the values v:
//   WORDS    32 int16, |v| ≤ 32512 = 127 · 256 (finer than f16)
//   SPLIT    the same v as 32 bytes h, then 32 bytes l, v = 256 h + l: for products of bytes (see wasm/dot.wasm.ts)
//   BYTES    32 int8, |v| ≤ 127: half the products, for long prompts (see docs/decisions/0014-byte-products.md)
import { multipliesBytes } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";

@inline export const WORDS: i32 = 0;
@inline export const SPLIT: i32 = 1;
@inline export const BYTES: i32 = 2;

/** From so many rows on x is rounded to 8 bits where that is faster: a prompt's, and no decode's of several sequences. */
@inline const LONG: i32 = 32;

/** Where what a block holds begins in it. */
@inline export const X_HALF_SUM: usize = 4;
@inline export const X_SUM: usize = 8;
@inline export const X_NEGATIVE_SUM: usize = 12;
@inline export const X_VALUES: usize = 16;

/** The form for so many rows. */
export function roundedForm(rows: i32): i32 {
  if (!multipliesBytes()) return WORDS;
  return rows < LONG ? SPLIT : BYTES;
}

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

/** Rounds `blocks` blocks of f32. */
export function roundRow(x: usize, blocks: i32, form: i32, to: usize): void {
  const most: f32 = form == BYTES ? 127 : 32512;
  // From a half block's values to the next one's.
  const step: usize = form == WORDS ? 32 : 16;
  for (let block = 0; block < blocks; block++) {
    // max and not pmax: a NaN must come out as a NaN.
    let lanes = f32x4.abs(v128.load(x));
    for (let at: usize = 16; at < 128; at += 16) lanes = f32x4.max(lanes, f32x4.abs(v128.load(x + at)));
    lanes = f32x4.max(lanes, v128.shuffle<f32>(lanes, lanes, 2, 3, 0, 1));
    lanes = f32x4.max(lanes, v128.shuffle<f32>(lanes, lanes, 1, 0, 3, 2));
    const largest = f32x4.extract_lane(lanes, 0);
    const scale = largest / most;
    // Below 1e-30 the inverse could overflow; such a block is as good as zero.
    const inverse = f32x4.splat(largest < 1e-30 ? 0 : most / largest);
    const half = roundHalf(x, inverse, form, to + X_VALUES);
    const sum = half + roundHalf(x + 64, inverse, form, to + X_VALUES + step);
    store<f32>(to, scale);
    store<i32>(to, half, X_HALF_SUM);
    store<i32>(to, sum, X_SUM);
    store<f32>(to, -scale * <f32>sum, X_NEGATIVE_SUM);
    x += 128;
    to += blockBytesOf(form);
  }
}

/** Rounds 16 values and returns their sum. */
@inline
function roundHalf(x: usize, inverse: v128, form: i32, to: usize): i32 {
  // 1.5 · 2^23: its sum with a small value holds that value, rounded, in the low bits.
  const magic = f32x4.splat(12582912);
  const magicBits = i32x4.splat(0x4b400000);
  const a = i32x4.sub(madd(v128.load(x), inverse, magic), magicBits);
  const b = i32x4.sub(madd(v128.load(x, 16), inverse, magic), magicBits);
  const c = i32x4.sub(madd(v128.load(x, 32), inverse, magic), magicBits);
  const d = i32x4.sub(madd(v128.load(x, 48), inverse, magic), magicBits);
  const low = i16x8.narrow_i32x4_s(a, b), high = i16x8.narrow_i32x4_s(c, d);
  if (form == BYTES) {
    v128.store(to, i8x16.narrow_i16x8_s(low, high));
  } else if (form == SPLIT) {
    const half = i16x8.splat(128);
    const lowH = i16x8.shr_s(i16x8.add(low, half), 8), highH = i16x8.shr_s(i16x8.add(high, half), 8);
    v128.store(to, i8x16.narrow_i16x8_s(lowH, highH));
    v128.store(to, i8x16.narrow_i16x8_s(i16x8.sub(low, i16x8.shl(lowH, 8)), i16x8.sub(high, i16x8.shl(highH, 8))), 32);
  } else {
    v128.store(to, low);
    v128.store(to, high, 16);
  }
  let sum = i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
  sum = i32x4.add(sum, v128.shuffle<i32>(sum, sum, 2, 3, 0, 1));
  return i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1);
}

/** The sums of both bytes of a SPLIT x, 256 h + l, as f32. */
@inline
export function joined(h: v128, l: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.shl(h, 8), l));
}
