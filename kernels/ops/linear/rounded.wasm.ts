// Rows of x rounded to 16 bits in blocks of 32 (32767 steps to each side, so finer than f16):
// [blocks] f32 scales, [blocks][2] i32 sums of the values of each half block, [blocks][32] int16 values.
import { madd } from "../../wasm/math.wasm";

/** Bytes of a row. */
@inline
export function roundedRowBytes(cols: i32): usize {
  return <usize>(cols >> 5) * 12 + (<usize>cols << 1);
}

/** Where a row's sums start. */
@inline
export function sumsAt(row: usize, blocks: i32): usize {
  return row + (<usize>blocks << 2);
}

/** Where a row's values start. */
@inline
export function valuesAt(row: usize, blocks: i32): usize {
  return row + <usize>blocks * 12;
}

/** Rounds `blocks` blocks of f32. */
export function roundRow(x: usize, blocks: i32, to: usize): void {
  let sums = sumsAt(to, blocks);
  let values = valuesAt(to, blocks);
  // 1.5 · 2^23: its sum with a small value holds that value, rounded, in the low bits.
  const magic = f32x4.splat(12582912);
  const magicBits = i32x4.splat(0x4b400000);
  for (let block = 0; block < blocks; block++) {
    // max and not pmax: a NaN must come out as a NaN.
    let most = f32x4.abs(v128.load(x));
    for (let at: usize = 16; at < 128; at += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + at)));
    most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
    most = f32x4.max(most, v128.shuffle<f32>(most, most, 1, 0, 3, 2));
    const largest = f32x4.extract_lane(most, 0);
    store<f32>(to, largest / 32767);
    // Below 1e-30 the inverse could overflow; such a block is as good as zero.
    const inverse = f32x4.splat(largest < 1e-30 ? 0 : 32767 / largest);
    for (let half = 0; half < 2; half++) {
      const a = i32x4.sub(madd(v128.load(x), inverse, magic), magicBits);
      const b = i32x4.sub(madd(v128.load(x, 16), inverse, magic), magicBits);
      const c = i32x4.sub(madd(v128.load(x, 32), inverse, magic), magicBits);
      const d = i32x4.sub(madd(v128.load(x, 48), inverse, magic), magicBits);
      v128.store(values, i16x8.narrow_i32x4_s(a, b));
      v128.store(values, i16x8.narrow_i32x4_s(c, d), 16);
      let sum = i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
      sum = i32x4.add(sum, v128.shuffle<i32>(sum, sum, 2, 3, 0, 1));
      store<i32>(sums, i32x4.extract_lane(sum, 0) + i32x4.extract_lane(sum, 1));
      sums += 4;
      x += 64;
      values += 32;
    }
    to += 4;
  }
}
