// Weights of 4 to 6 bits, in groups of 8 rows as packed.wasm.ts has them: fields of 16-bit lanes. A vector holds four rows; a
// 32-bit lane is a row, and its halves hold even and odd columns. A shift and a mask so give a vector of 16-bit operands: a pair
// of neighbouring columns of four rows. 32 columns are 16 pairs:
//
//   4 bits   4 vectors of 4 pairs
//   5 bits   5 vectors of 3 pairs; their highest bits are the last pair, from its lowest bit on
//   6 bits   twice 3 vectors a, b, c of 2 pairs; the upper four bits of each 16 hold pairs 6 and 7: a 6's low bits, c 7's, b the
//            upper two of 6, then of 7
//
// each vector for rows 0…3, then for rows 4…7. A group is
//
//   q4_0   blocks of 32 columns: d as 8 f16, then the vectors
//   q4_k   blocks of 256: d, dmin as 8 f16 each; 8 times (sc as 8 bytes, m as 8 bytes, the vectors of 32 columns)
//   q5_k   the same
//   q6_k   blocks of 256: d as 8 f16; 8 times (sc of 16 columns as 8 int8, of the next 16, the vectors of 32 columns)
//
// Bytes of a block, and of ggml's eight: q4_0 144 (144), q4_k 1184 (1152), q5_k 1440 (1408), q6_k 1680 (1680).

export const Q4_0: i32 = 4;
export const Q4_K: i32 = 5;
export const Q5_K: i32 = 6;
export const Q6_K: i32 = 7;

/** Bytes of a vector of four rows and its like of the other four. */
@inline export const VECTORS: usize = 32;

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
  return fieldsAt(dtype) + (dtype == Q6_K ? 6 : dtype == Q5_K ? 5 : 4) * VECTORS;
}

/** Whether a value is d · sc · q − dmin · m. */
@inline
export function hasMin(dtype: i32): bool {
  return dtype == Q4_K || dtype == Q5_K;
}

/** Where the vectors of 32 columns start in their block. */
@inline
export function fieldsAt(dtype: i32): usize {
  return dtype == Q4_0 ? 0 : 16;
}

/** What a field is more than its value. */
@inline
export function offsetOf(dtype: i32): i32 {
  if (dtype == Q4_0) return 8;
  return dtype == Q6_K ? 32 : 0;
}

export function fieldGroupBytes(dtype: i32, cols: i32): usize {
  const headers = <usize>(cols / headerColumns(dtype));
  return headers * headerBytes(dtype) + <usize>(cols >> 5) * blockBytes(dtype);
}

// See wasm/math.wasm.ts for why these are no constants.
let fourBits: v128 = i32x4.splat(0);
let fiveBits: v128 = i32x4.splat(0);
let sixBits: v128 = i32x4.splat(0);
let upperTwo: v128 = i32x4.splat(0);
let eight: v128 = i32x4.splat(0);
let thirtyTwo: v128 = i32x4.splat(0);
let f16Fields: v128 = i32x4.splat(0);
let f16Magnitude: v128 = i32x4.splat(0);
let f16Exponent: v128 = i32x4.splat(0);
let f16Bias: v128 = i32x4.splat(0);
let f16Lowest: v128 = i32x4.splat(0);

/** Sets the constants; every thread calls it once, before all else. */
export function prepareFields(): void {
  fourBits = i16x8.splat(0x0f);
  fiveBits = i16x8.splat(0x1f);
  sixBits = i16x8.splat(0x3f);
  upperTwo = i16x8.splat(0x30);
  eight = i8x16.splat(8);
  thirtyTwo = i8x16.splat(32);
  f16Fields = i32x4.splat(0x8fffe000);
  f16Magnitude = i32x4.splat(0x7fffffff);
  f16Exponent = i32x4.splat(0x0f800000);
  // 127 − 15
  f16Bias = i32x4.splat(112 << 23);
  f16Lowest = f32x4.splat(6.103515625e-5);
}

/**
 * Vector `index` of those that pairOf needs for 16 columns of four rows: half 0 or 1 of the block at `at` (+ 16 for rows 4…7).
 * Zero where it needs fewer.
 */
@inline
export function fieldsOf(dtype: i32, at: usize, half: i32, index: i32): v128 {
  if (index >= (dtype == Q5_K ? (half == 0 ? 3 : 5) : dtype == Q6_K ? 3 : 2)) return i32x4.splat(0);
  const first = dtype == Q5_K ? 0 : dtype == Q6_K ? 3 * half : 2 * half;
  return v128.load(at + fieldsAt(dtype) + <usize>(first + index) * VECTORS);
}

/** Columns 2n and 2n + 1 (n = 0 … 7) of a half block, of four rows: 16-bit numbers that are not negative. a … e as of fieldsOf. */
@inline
export function pairOf(dtype: i32, half: i32, n: i32, a: v128, b: v128, c: v128, d: v128, e: v128): v128 {
  if (dtype == Q5_K) {
    const pair = 8 * half + n;
    if (pair == 15) return v128.or(v128.or(top(a, 0), top(b, 1)), v128.or(v128.or(top(c, 2), top(d, 3)), top(e, 4)));
    const fields = pair < 3 ? a : pair < 6 ? b : pair < 9 ? c : pair < 12 ? d : e;
    return v128.and(pair % 3 == 0 ? fields : i16x8.shr_u(fields, 5 * (pair % 3)), fiveBits);
  }
  if (dtype == Q6_K) {
    if (n == 6) return v128.or(i16x8.shr_u(a, 12), v128.and(i16x8.shr_u(b, 8), upperTwo));
    if (n == 7) return v128.or(i16x8.shr_u(c, 12), v128.and(i16x8.shr_u(b, 10), upperTwo));
    const fields = n < 2 ? a : n < 4 ? b : c;
    return v128.and((n & 1) == 0 ? fields : i16x8.shr_u(fields, 6), sixBits);
  }
  const fields = n < 4 ? a : b;
  if ((n & 3) == 3) return i16x8.shr_u(fields, 12);
  return v128.and((n & 3) == 0 ? fields : i16x8.shr_u(fields, 4 * (n & 3)), fourBits);
}

/** The highest bit of each lane, as bit `to`. */
@inline
function top(lanes: v128, to: i32): v128 {
  return i16x8.shl(i16x8.shr_u(lanes, 15), to);
}

/**
 * d (or dmin) of four rows; `at` is the header, + 8 for rows 4…7. Subnormal f16 are common here, and a product of what would be
 * subnormal f32 costs Intel's CPUs a hundred cycles: so f16's fields go into f32's with the exponent of f32, which gives a
 * subnormal f16 of m · 2^-24 as 2^-15 + m · 2^-25, from which it is made with a sum.
 */
@inline
export function fourF16(at: usize): v128 {
  const fields = v128.and(i32x4.shl(v128.load16x4_s(at), 13), f16Fields);
  const normal = i32x4.add(fields, f16Bias);
  const isSubnormal = i32x4.eq(v128.and(fields, f16Exponent), i32x4.splat(0));
  const lowest = v128.or(v128.andnot(fields, f16Magnitude), f16Lowest);
  return f32x4.add(normal, v128.and(isSubnormal, f32x4.sub(normal, lowest)));
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
 * A group as a tile, for products with several rows: blocks as of q8_0, each 8 scales as f32, 8 minima as f32 if values have one,
 * then [pairs of columns][8 rows][2] int8.
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
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const header = group;
    const d = fourF16(header), e = fourF16(header + 8);
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      to = tileHalf(dtype, 0, header, d, e, group, to);
      to = tileHalf(dtype, 1, header, d, e, group, to);
      group += blockBytes(dtype);
    }
  }
}

/** 16 columns of eight rows; returns where the next go. */
@inline
function tileHalf(dtype: i32, half: i32, header: usize, d: v128, e: v128, at: usize, to: usize): usize {
  if (half == 0 || tileColumns(dtype) == 16) {
    v128.store(to, scaleOf(dtype, d, at, half));
    v128.store(to, scaleOf(dtype, e, at + 4, half), 16);
    to += 32;
    if (hasMin(dtype)) {
      v128.store(to, f32x4.mul(fourF16(header + 16), fourBytes(at + 8)));
      v128.store(to, f32x4.mul(fourF16(header + 24), fourBytes(at + 12)), 16);
      to += 32;
    }
  }
  tileColumnsOf(dtype, half, at, to);
  return to + 128;
}

@inline
function tileColumnsOf(dtype: i32, half: i32, at: usize, to: usize): void {
  const a = fieldsOf(dtype, at, half, 0), b = fieldsOf(dtype, at, half, 1), c = fieldsOf(dtype, at, half, 2);
  const d = fieldsOf(dtype, at, half, 3), e = fieldsOf(dtype, at, half, 4);
  const f = fieldsOf(dtype, at + 16, half, 0), g = fieldsOf(dtype, at + 16, half, 1), h = fieldsOf(dtype, at + 16, half, 2);
  const i = fieldsOf(dtype, at + 16, half, 3), j = fieldsOf(dtype, at + 16, half, 4);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 0, a, b, c, d, e), pairOf(dtype, half, 0, f, g, h, i, j)));
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 1, a, b, c, d, e), pairOf(dtype, half, 1, f, g, h, i, j)), 16);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 2, a, b, c, d, e), pairOf(dtype, half, 2, f, g, h, i, j)), 32);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 3, a, b, c, d, e), pairOf(dtype, half, 3, f, g, h, i, j)), 48);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 4, a, b, c, d, e), pairOf(dtype, half, 4, f, g, h, i, j)), 64);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 5, a, b, c, d, e), pairOf(dtype, half, 5, f, g, h, i, j)), 80);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 6, a, b, c, d, e), pairOf(dtype, half, 6, f, g, h, i, j)), 96);
  v128.store(to, tilePair(dtype, pairOf(dtype, half, 7, a, b, c, d, e), pairOf(dtype, half, 7, f, g, h, i, j)), 112);
}

/** Two columns of eight rows as int8. */
@inline
function tilePair(dtype: i32, low: v128, high: v128): v128 {
  const bytes = i8x16.narrow_i16x8_s(low, high);
  if (offsetOf(dtype) == 0) return bytes;
  return i8x16.sub(bytes, dtype == Q6_K ? thirtyTwo : eight);
}

/** A group as [column][8] f32. */
export function expandFieldGroup(group: usize, dtype: i32, cols: i32, to: usize): void {
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
        const at = group + rows * 16;
        expandHalf(dtype, 0, at, scaleOf(dtype, d, group + rows * 4, 0), min, to + rows * 16);
        expandHalf(dtype, 1, at, scaleOf(dtype, d, group + rows * 4, 1), min, to + rows * 16 + 512);
      }
      to += 1024;
      group += blockBytes(dtype);
    }
  }
}

/** 16 columns of four rows. */
@inline
function expandHalf(dtype: i32, half: i32, at: usize, scale: v128, min: v128, to: usize): void {
  const a = fieldsOf(dtype, at, half, 0), b = fieldsOf(dtype, at, half, 1), c = fieldsOf(dtype, at, half, 2);
  const d = fieldsOf(dtype, at, half, 3), e = fieldsOf(dtype, at, half, 4);
  storeColumns(dtype, to, pairOf(dtype, half, 0, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 64, pairOf(dtype, half, 1, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 128, pairOf(dtype, half, 2, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 192, pairOf(dtype, half, 3, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 256, pairOf(dtype, half, 4, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 320, pairOf(dtype, half, 5, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 384, pairOf(dtype, half, 6, a, b, c, d, e), scale, min);
  storeColumns(dtype, to + 448, pairOf(dtype, half, 7, a, b, c, d, e), scale, min);
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
export function expandFieldRow(group: usize, lane: usize, dtype: i32, cols: i32, to: usize): void {
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
        store<f32>(to, scale * <f32>(fieldOf(group + rows * 4 + half, dtype, k) - offsetOf(dtype)) - min);
        to += 4;
      }
      group += blockBytes(dtype);
    }
  }
}

/** The field of column k of 32; `at` is the block, plus the row's place in a vector. */
function fieldOf(at: usize, dtype: i32, k: usize): i32 {
  at += fieldsAt(dtype) + (k & 1) * 2;
  const pair = <i32>(k >> 1);
  if (dtype == Q5_K) {
    if (pair < 15) return (lanesAt(at, pair / 3) >> 5 * (pair % 3)) & 31;
    let last = 0;
    for (let i = 0; i < 5; i++) last |= (lanesAt(at, i) >> 15) << i;
    return last;
  }
  if (dtype == Q6_K) {
    const first = 3 * (pair >> 3), n = pair & 7;
    if (n < 6) return (lanesAt(at, first + (n >> 1)) >> 6 * (n & 1)) & 63;
    const upper = lanesAt(at, first + 1) >> (n == 6 ? 12 : 14);
    return (lanesAt(at, n == 6 ? first : first + 2) >> 12) | ((upper & 3) << 4);
  }
  return (lanesAt(at, pair >> 2) >> 4 * (pair & 3)) & 15;
}

@inline
function lanesAt(at: usize, vector: i32): i32 {
  return <i32>load<u16>(at + <usize>vector * VECTORS);
}

function oneF16(at: usize): f32 {
  return f32x4.extract_lane(fourF16(at), 0);
}
