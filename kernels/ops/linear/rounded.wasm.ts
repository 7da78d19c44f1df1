// Rows of x rounded to 16 bits in blocks of 32 (32512 = 127 · 256 steps to each side, so finer than f16). A block is
//
//   f32 scale, i32 sum of its first 16 values, i32 sum of all, f32 −scale · that sum,
//   and the values v: 32 int16, or, where bytes are multiplied (see wasm/dot.wasm.ts), 32 bytes h and 32 bytes l, v = 256 h + l
import { multipliesBytes } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";

/** Bytes of a block. */
@inline export const X_BLOCK: usize = 80;
/** Where what a block holds begins in it. */
@inline export const X_HALF_SUM: usize = 4;
@inline export const X_SUM: usize = 8;
@inline export const X_NEGATIVE_SUM: usize = 12;
@inline export const X_VALUES: usize = 16;

/** Bytes of a row. */
@inline
export function roundedRowBytes(cols: i32): usize {
  return <usize>(cols >> 5) * X_BLOCK;
}

/** Rounds `blocks` blocks of f32. */
export function roundRow(x: usize, blocks: i32, to: usize): void {
  const splits = multipliesBytes();
  for (let block = 0; block < blocks; block++) {
    // max and not pmax: a NaN must come out as a NaN.
    let most = f32x4.abs(v128.load(x));
    for (let at: usize = 16; at < 128; at += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + at)));
    most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
    most = f32x4.max(most, v128.shuffle<f32>(most, most, 1, 0, 3, 2));
    const largest = f32x4.extract_lane(most, 0);
    const scale = largest / 32512;
    // Below 1e-30 the inverse could overflow; such a block is as good as zero.
    const inverse = f32x4.splat(largest < 1e-30 ? 0 : 32512 / largest);
    const half = roundHalf(x, inverse, to + X_VALUES, splits);
    const sum = half + roundHalf(x + 64, inverse, to + X_VALUES + (splits ? 16 : 32), splits);
    store<f32>(to, scale);
    store<i32>(to, half, X_HALF_SUM);
    store<i32>(to, sum, X_SUM);
    store<f32>(to, -scale * <f32>sum, X_NEGATIVE_SUM);
    x += 128;
    to += X_BLOCK;
  }
}

/** Rounds 16 values and returns their sum. */
@inline
function roundHalf(x: usize, inverse: v128, to: usize, splits: bool): i32 {
  // 1.5 · 2^23: its sum with a small value holds that value, rounded, in the low bits.
  const magic = f32x4.splat(12582912);
  const magicBits = i32x4.splat(0x4b400000);
  const a = i32x4.sub(madd(v128.load(x), inverse, magic), magicBits);
  const b = i32x4.sub(madd(v128.load(x, 16), inverse, magic), magicBits);
  const c = i32x4.sub(madd(v128.load(x, 32), inverse, magic), magicBits);
  const d = i32x4.sub(madd(v128.load(x, 48), inverse, magic), magicBits);
  const low = i16x8.narrow_i32x4_s(a, b), high = i16x8.narrow_i32x4_s(c, d);
  if (splits) {
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
