// Weights of 4 to 6 bits, in groups of 8 rows as packed.wasm.ts has them. The low four bits of 32 columns are 8 vectors:
// for each 8 columns one of rows 0…3 and one of rows 4…7. A 32-bit lane is a row, its 16-bit halves are an even and an odd
// column, and nibble n of a half is column 2n (+ 1) of the eight. A shift and a mask so give a vector of 16-bit operands.
//
//   q4_0   blocks of 32 columns: d as 8 f16, then nibbles
//   q4_k   of 256: d, dmin as 8 f16 each; 8 times (sc as 8 bytes, m as 8 bytes, nibbles of 32 columns)
//   q5_k   the same with the fifth bits before the nibbles: bit i of a 16-bit half is its column 2i (+ 1) of 32
//   q6_k   of 256: d as 8 f16; 8 times (sc of the first 16 columns as 8 int8, of the other 16, the upper pairs of bits of
//          the first 16 columns, of the other 16, nibbles); pair i of a 16-bit half is its column 2i (+ 1) of 16
//
// Bytes of 8 rows, and of ggml's blocks: q4_0 144 (144), q4_k 1184 (1152), q5_k 1440 (1408), q6_k 1680 (1680).
import { lowF16 } from "./packed.wasm";

export const Q4_0: i32 = 4;
export const Q4_K: i32 = 5;
export const Q5_K: i32 = 6;
export const Q6_K: i32 = 7;

/** Bytes of the nibbles of 32 columns. */
const NIBBLES: usize = 128;
/** Bytes of the vectors of 8 columns. */
const OCTET: usize = 32;

/** Columns that share a header. */
@inline
export function headerColumns(dtype: i32): i32 {
  return dtype == Q4_0 ? 32 : 256;
}

/** Bytes before the blocks of 32 columns: d, and dmin where values have a minimum. */
@inline
export function headerBytes(dtype: i32): usize {
  return hasMin(dtype) ? 32 : 16;
}

/** Bytes of 32 columns without their header. */
@inline
export function blockBytes(dtype: i32): usize {
  return NIBBLES + nibblesAt(dtype);
}

/** Whether a value is d · sc · q − dmin · m. */
@inline
export function hasMin(dtype: i32): bool {
  return dtype == Q4_K || dtype == Q5_K;
}

/** Where the upper bits of 32 columns lie in their block. */
@inline
export function upperAt(dtype: i32): usize {
  return dtype == Q4_0 ? 0 : 16;
}

@inline
export function nibblesAt(dtype: i32): usize {
  if (dtype == Q4_0) return 0;
  if (dtype == Q4_K) return 16;
  return dtype == Q5_K ? 48 : 80;
}

/** What a value's bits are more than it. */
@inline
export function offsetOf(dtype: i32): i32 {
  if (dtype == Q4_0) return 8;
  return dtype == Q6_K ? 32 : 0;
}

export function nibbleGroupBytes(dtype: i32, cols: i32): usize {
  const headers = <usize>(cols / headerColumns(dtype));
  return headers * headerBytes(dtype) + <usize>(cols >> 5) * blockBytes(dtype);
}

// ---- packing ----------------------------------------------------------------------------------------------------------

/** Bytes of a row of ggml's blocks. */
export function storedRowBytes(dtype: i32, cols: i32): usize {
  return <usize>(cols / headerColumns(dtype)) * storedBytes(dtype);
}

function storedBytes(dtype: i32): usize {
  if (dtype == Q4_0) return 18;
  if (dtype == Q4_K) return 144;
  return dtype == Q5_K ? 176 : 210;
}

/** Puts one row of ggml's blocks into lane `lane` of a zeroed group. Returns 1 if a scale is an infinity or NaN, else 0. */
export function packNibbleRow(from: usize, group: usize, lane: usize, dtype: i32, cols: i32): i32 {
  let bad = 0;
  const blocks = headerColumns(dtype) >> 5;
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const d = load<u16>(from + (dtype == Q6_K ? 208 : 0));
    if ((d & 0x7c00) == 0x7c00) bad = 1;
    store<u16>(group + lane * 2, d);
    if (hasMin(dtype)) {
      const dMin = load<u16>(from, 2);
      if ((dMin & 0x7c00) == 0x7c00) bad = 1;
      store<u16>(group + lane * 2, dMin, 16);
    }
    group += headerBytes(dtype);
    for (let block = 0; block < blocks; block++) {
      packScales(from, group + lane, dtype, block);
      for (let octet = 0; octet < 4; octet++) {
        const values = storedOctet(from, dtype, block, octet);
        const at = (lane >> 2) * 16 + (lane & 3) * 4;
        packHalf(values, group + at, dtype, octet);
        packHalf(values >> 8, group + at + 2, dtype, octet);
      }
      group += blockBytes(dtype);
    }
    from += storedBytes(dtype);
  }
  return bad;
}

/** Scale and minimum, or both scales, of 32 columns of a row, one byte each. */
function packScales(from: usize, to: usize, dtype: i32, block: i32): void {
  if (dtype == Q4_0) return;
  if (dtype == Q6_K) {
    store<u8>(to, load<u8>(from + 192 + 2 * block), 0);
    store<u8>(to, load<u8>(from + 193 + 2 * block), 8);
    return;
  }
  // 6 bits each: the upper two bits of blocks 4 … 7 lie with the first four.
  const at = from + 4 + block;
  if (block < 4) {
    store<u8>(to, load<u8>(at) & 63);
    store<u8>(to, load<u8>(at, 4) & 63, 8);
  } else {
    store<u8>(to, (load<u8>(at, 4) & 15) | ((load<u8>(at - 4) >> 6) << 4));
    store<u8>(to, (load<u8>(at, 4) >> 4) | ((load<u8>(at) >> 6) << 4), 8);
  }
}

/** The bits of columns 8 octet … 8 octet + 7 of a block of 32, a byte each, out of ggml's arrangement (see dequantise.ts). */
function storedOctet(from: usize, dtype: i32, block: i32, octet: i32): u64 {
  const nibble: u64 = 0x0f0f0f0f0f0f0f0f;
  if (dtype == Q4_0) {
    return (load<u64>(from + 2 + <usize>(octet & 1) * 8) >> ((octet >> 1) * 4)) & nibble;
  }
  if (dtype == Q6_K) {
    const half = <usize>(block >> 2), row = block & 3;
    const low = load<u64>(from + half * 64 + <usize>(row & 1) * 32 + <usize>octet * 8) >> ((row >> 1) * 4);
    const high = load<u64>(from + 128 + half * 32 + <usize>octet * 8) >> (row * 2);
    return (low & nibble) | ((high & 0x0303030303030303) << 4);
  }
  const nibbles = from + (dtype == Q5_K ? 48 : 16) + <usize>(block >> 1) * 32;
  const low = (load<u64>(nibbles + <usize>octet * 8) >> ((block & 1) * 4)) & nibble;
  if (dtype == Q4_K) return low;
  return low | (((load<u64>(from + 16 + <usize>octet * 8) >> block) & 0x0101010101010101) << 4);
}

/** The even bytes of 8 columns to their 16-bit half. */
function packHalf(values: u64, block: usize, dtype: i32, octet: i32): void {
  store<u16>(block + nibblesAt(dtype) + <usize>octet * OCTET, <u16>gather(values & 0x000f000f000f000f, 4));
  const upper = values >> 4;
  if (dtype == Q5_K) {
    const at = block + upperAt(dtype) + <usize>(octet >> 1);
    store<u8>(at, load<u8>(at) | <u8>(gather(upper & 0x0001000100010001, 1) << ((octet & 1) * 4)));
  } else if (dtype == Q6_K) {
    store<u8>(block + upperAt(dtype) + <usize>(octet >> 1) * 32 + <usize>(octet & 1), <u8>gather(upper & 0x0003000300030003, 2));
  }
}

/** The low `bits` bits of each 16-bit lane, side by side. */
@inline
function gather(lanes: u64, bits: u64): u64 {
  const pairs = lanes | (lanes >> (16 - bits));
  const mask = (<u64>1 << (2 * bits)) - 1;
  return (pairs & mask) | ((pairs >> (32 - 2 * bits)) & (mask << (2 * bits)));
}

// ---- unpacking --------------------------------------------------------------------------------------------------------

// See wasm/math.wasm.ts for why these are no constants.
let nibbleMask: v128 = i32x4.splat(0);
let fifthBit: v128 = i32x4.splat(0);
let upperPair: v128 = i32x4.splat(0);

/** Sets the constants; every thread calls it once, before all else. */
export function prepareNibbles(): void {
  nibbleMask = i16x8.splat(0x0f);
  fifthBit = i16x8.splat(0x10);
  upperPair = i16x8.splat(0x30);
}

/** The upper bits of 8 columns of four rows in the low bits of each 16-bit lane; `at` is the block, + 16 for rows 4…7. */
@inline
export function upperOf(dtype: i32, at: usize, octet: i32): v128 {
  if (dtype == Q5_K) return i16x8.shr_u(v128.load(at + upperAt(dtype)), octet * 4);
  if (dtype == Q6_K) return i16x8.shr_u(v128.load(at + upperAt(dtype) + <usize>(octet >> 1) * 32), (octet & 1) * 8);
  return nibbleMask;
}

/** Columns 2n and 2n + 1 of eight, of four rows, as 16-bit numbers: the bits, so not less than 0. n = 0 … 3. */
@inline
export function pairOf(dtype: i32, nibbles: v128, upper: v128, n: i32): v128 {
  const low = n == 3 ? i16x8.shr_u(nibbles, 12) : v128.and(n == 0 ? nibbles : i16x8.shr_u(nibbles, 4 * n), nibbleMask);
  if (dtype == Q5_K) return v128.or(low, v128.and(i16x8.shl(upper, 4 - n), fifthBit));
  if (dtype == Q6_K) {
    const shifted = n == 3 ? i16x8.shr_u(upper, 2) : n == 2 ? upper : i16x8.shl(upper, 4 - 2 * n);
    return v128.or(low, v128.and(shifted, upperPair));
  }
  return low;
}

/** d (or dmin) of four rows; `at` is the header, + 8 for rows 4…7. */
@inline
export function fourF16(at: usize): v128 {
  return lowF16(v128.load64_zero(at));
}

/** Four unsigned bytes. */
@inline
export function fourBytes(at: usize): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at))));
}

/** Four signed bytes. */
@inline
function fourSigned(at: usize): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(at))));
}

/** What 16 columns of four rows are multiplied with: half 0 or 1 of the block at `at` (+ 4 for rows 4…7). */
@inline
export function scaleOf(dtype: i32, d: v128, at: usize, half: i32): v128 {
  if (dtype == Q4_0) return d;
  if (dtype == Q6_K) return f32x4.mul(d, fourSigned(at + <usize>half * 8));
  return f32x4.mul(d, fourBytes(at));
}

/** Columns of a tile's block: those that share a scale. */
@inline
export function tileColumns(dtype: i32): i32 {
  return dtype == Q6_K ? 16 : 32;
}

/** Bytes of a tile's block: scales, minima where values have one, int8 values. */
@inline
export function tileBlockBytes(dtype: i32): usize {
  return 32 + (hasMin(dtype) ? 32 : 0) + <usize>tileColumns(dtype) * 8;
}

/** Bytes of a whole group as a tile. */
export function tileBytes(dtype: i32, cols: i32): usize {
  return <usize>(cols / tileColumns(dtype)) * tileBlockBytes(dtype);
}

/**
 * A group as a tile, for products with several rows: blocks as of q8_0, each 8 scales as f32, 8 minima as f32 if values have one, then
 * [pairs of columns][8 rows][2] int8.
 */
export function expandTile(group: usize, dtype: i32, cols: i32, to: usize): void {
  switch (dtype) {
    case Q4_0: tileOf(Q4_0, group, cols, to); break;
    case Q4_K: tileOf(Q4_K, group, cols, to); break;
    case Q5_K: tileOf(Q5_K, group, cols, to); break;
    case Q6_K: tileOf(Q6_K, group, cols, to); break;
    default: unreachable();
  }
}

@inline
function tileOf(dtype: i32, group: usize, cols: i32, to: usize): void {
  const offset = i8x16.splat(<i8>offsetOf(dtype));
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const header = group;
    const d = fourF16(header), e = fourF16(header + 8);
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      for (let octet = 0; octet < 4; octet++) {
        if (octet == 0 || (octet == 2 && tileColumns(dtype) == 16)) {
          v128.store(to, scaleOf(dtype, d, group, octet >> 1));
          v128.store(to, scaleOf(dtype, e, group + 4, octet >> 1), 16);
          to += 32;
          if (hasMin(dtype)) {
            v128.store(to, f32x4.mul(fourF16(header + 16), fourBytes(group + 8)));
            v128.store(to, f32x4.mul(fourF16(header + 24), fourBytes(group + 12)), 16);
            to += 32;
          }
        }
        const nibbles = group + nibblesAt(dtype) + <usize>octet * OCTET;
        const low = v128.load(nibbles), high = v128.load(nibbles, 16);
        const lowUpper = upperOf(dtype, group, octet), highUpper = upperOf(dtype, group + 16, octet);
        v128.store(to, tileVector(dtype, low, lowUpper, high, highUpper, 0, offset));
        v128.store(to, tileVector(dtype, low, lowUpper, high, highUpper, 1, offset), 16);
        v128.store(to, tileVector(dtype, low, lowUpper, high, highUpper, 2, offset), 32);
        v128.store(to, tileVector(dtype, low, lowUpper, high, highUpper, 3, offset), 48);
        to += 64;
      }
      group += blockBytes(dtype);
    }
  }
}

/** Two columns of eight rows. */
@inline
function tileVector(dtype: i32, low: v128, lowUpper: v128, high: v128, highUpper: v128, n: i32, offset: v128): v128 {
  const bits = i8x16.narrow_i16x8_s(pairOf(dtype, low, lowUpper, n), pairOf(dtype, high, highUpper, n));
  return offsetOf(dtype) == 0 ? bits : i8x16.sub(bits, offset);
}

/** A group as [column][8] f32. */
export function expandNibbleGroup(group: usize, dtype: i32, cols: i32, to: usize): void {
  switch (dtype) {
    case Q4_0: floatsOf(Q4_0, group, cols, to); break;
    case Q4_K: floatsOf(Q4_K, group, cols, to); break;
    case Q5_K: floatsOf(Q5_K, group, cols, to); break;
    case Q6_K: floatsOf(Q6_K, group, cols, to); break;
    default: unreachable();
  }
}

@inline
function floatsOf(dtype: i32, group: usize, cols: i32, to: usize): void {
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const header = group;
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      // Rows 0…3, then 4…7.
      for (let rows: usize = 0; rows < 2; rows++) {
        const d = fourF16(header + rows * 8);
        const min = hasMin(dtype) ? f32x4.mul(fourF16(header + 16 + rows * 8), fourBytes(group + 8 + rows * 4)) : f32x4.splat(0);
        for (let octet = 0; octet < 4; octet++) {
          const scale = scaleOf(dtype, d, group + rows * 4, octet >> 1);
          const nibbles = v128.load(group + nibblesAt(dtype) + <usize>octet * OCTET + rows * 16);
          const upper = upperOf(dtype, group + rows * 16, octet);
          const at = to + <usize>octet * 256 + rows * 16;
          storeColumns(dtype, at, pairOf(dtype, nibbles, upper, 0), scale, min);
          storeColumns(dtype, at + 64, pairOf(dtype, nibbles, upper, 1), scale, min);
          storeColumns(dtype, at + 128, pairOf(dtype, nibbles, upper, 2), scale, min);
          storeColumns(dtype, at + 192, pairOf(dtype, nibbles, upper, 3), scale, min);
        }
      }
      to += 1024;
      group += blockBytes(dtype);
    }
  }
}

/** Two columns of four rows. */
@inline
function storeColumns(dtype: i32, to: usize, pair: v128, scale: v128, min: v128): void {
  const values = i16x8.sub(pair, i16x8.splat(<i16>offsetOf(dtype)));
  const even = f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(values, 16), 16));
  const odd = f32x4.convert_i32x4_s(i32x4.shr_s(values, 16));
  v128.store(to, f32x4.sub(f32x4.mul(even, scale), min));
  v128.store(to, f32x4.sub(f32x4.mul(odd, scale), min), 32);
}

/** One row as f32, in the steps of dequantise.ts; `lane` is its row of the group. */
export function expandNibbleRow(group: usize, lane: usize, dtype: i32, cols: i32, to: usize): void {
  const rows = lane & 4;
  const half = (lane & 3) * 4;
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const d = oneF16(group + lane * 2);
    const dMin: f32 = hasMin(dtype) ? oneF16(group + lane * 2 + 16) : 0;
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      const min: f32 = hasMin(dtype) ? dMin * <f32>load<u8>(group + lane, 8) : 0;
      for (let k: usize = 0; k < 32; k++) {
        let scale = d;
        if (hasMin(dtype)) scale *= <f32>load<u8>(group + lane);
        else if (dtype == Q6_K) scale *= <f32>load<i8>(group + lane + (k >> 4) * 8);
        store<f32>(to, scale * <f32>(bitsOf(group + rows * 4 + half, dtype, k) - offsetOf(dtype)) - min);
        to += 4;
      }
      group += blockBytes(dtype);
    }
  }
}

/** The bits of column k of 32; `at` is the block, plus the row's 32-bit lane. */
function bitsOf(at: usize, dtype: i32, k: usize): i32 {
  at += (k & 1) * 2;
  const low = (<i32>load<u16>(at + nibblesAt(dtype) + (k >> 3) * OCTET) >> <i32>((k >> 1) & 3) * 4) & 15;
  if (dtype == Q5_K) return low | (((<i32>load<u16>(at + upperAt(dtype)) >> <i32>(k >> 1)) & 1) << 4);
  if (dtype == Q6_K) return low | (((<i32>load<u16>(at + upperAt(dtype) + (k >> 4) * 32) >> <i32>((k >> 1) & 7) * 2) & 3) << 4);
  return low;
}

function oneF16(at: usize): f32 {
  return f32x4.extract_lane(lowF16(v128.load16_splat(at)), 0);
}
