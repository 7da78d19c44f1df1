// Weights of 4 to 8 bits, in groups of 8 rows as packed.wasm.ts has them. A vector holds four rows, four neighbouring columns of
// each in the four bytes of a 32-bit lane: what wasm/dot.wasm.ts multiplies at once, called a quad here. 32 columns are 8 quads:
//
//   8 bits   8 vectors of int8, or of int8 + 128 (weightFlip in wasm/dot.wasm.ts)
//   4 bits   4 vectors, each with quad 2 i in the lower and 2 i + 1 in the upper nibbles
//   5 bits   the same, and a vector with the highest bit of quad j as bit j
//   6 bits   the same, and four vectors, the i-th with the upper two bits of quads 2 i and 2 i + 1 of rows 0…3, then of rows 4…7,
//            the first lowest
//
// each vector but those last for rows 0…3, then for rows 4…7. A group is
//
//   q8_0   blocks of 32 columns: 8 scales as f32, then the vectors
//   q4_0   blocks of 32: d as 8 f16, then the vectors
//   q4_k   blocks of 256: d, dmin as 8 f16 each; 8 times (sc as 8 bytes, m as 8 bytes, the vectors of 32 columns)
//   q5_k   the same
//   q6_k   blocks of 256: d as 8 f16; 8 times (sc of 16 columns as 8 int8, of the next 16, the vectors of 32 columns)
//
// Bytes of a block, and of ggml's eight: q8_0 288 (272), q4_0 144 (144), q4_k 1184 (1152), q5_k 1440 (1408), q6_k 1680 (1680).
import { weightFlip } from "../../wasm/dot.wasm";
import { X_HALF_SUM, X_SUM } from "./rounded.wasm";

export const Q8_0: i32 = 3;
export const Q4_0: i32 = 4;
export const Q4_K: i32 = 5;
export const Q5_K: i32 = 6;
export const Q6_K: i32 = 7;

/** Bytes of a vector of four rows and its like of the other four. */
@inline export const VECTORS: usize = 32;

/** Where the upper bits of q6_k are in a block of 32 columns. */
@inline export const UPPER_BITS: usize = 16 + 4 * VECTORS;

/** Columns that share a header. */
@inline
export function headerColumns(dtype: i32): i32 {
  return dtype <= Q4_0 ? 32 : 256;
}

/** Bytes before the blocks of 32 columns: d, and dmin where values have a minimum. */
@inline
export function headerBytes(dtype: i32): usize {
  return dtype == Q8_0 || hasMin(dtype) ? 32 : 16;
}

/** Bytes of 32 columns without their header. */
@inline
export function blockBytes(dtype: i32): usize {
  return fieldsAt(dtype) + (dtype == Q8_0 ? 8 : dtype == Q6_K ? 6 : dtype == Q5_K ? 5 : 4) * VECTORS;
}

/** Whether a value is d · sc · q − dmin · m. */
@inline
export function hasMin(dtype: i32): bool {
  return dtype == Q4_K || dtype == Q5_K;
}

/** Where the vectors of 32 columns start in their block. */
@inline
export function fieldsAt(dtype: i32): usize {
  return dtype <= Q4_0 ? 0 : 16;
}

/** What a field is more than its value, as a power of two; 0: nothing. For q8_0: where weightFlip says so. */
@inline
export function offsetShift(dtype: i32): i32 {
  return dtype == Q8_0 ? 7 : dtype == Q4_0 ? 3 : dtype == Q6_K ? 5 : 0;
}

export function fieldGroupBytes(dtype: i32, cols: i32): usize {
  const headers = <usize>(cols / headerColumns(dtype));
  return headers * headerBytes(dtype) + <usize>(cols >> 5) * blockBytes(dtype);
}

// See wasm/math.wasm.ts for why these are no constants.
let fourBits: v128 = i32x4.splat(0);
let fifthBit: v128 = i32x4.splat(0);
let upperTwo: v128 = i32x4.splat(0);
let flips: v128 = i32x4.splat(0);
let f16Fields: v128 = i32x4.splat(0);
let f16Magnitude: v128 = i32x4.splat(0);
let f16Exponent: v128 = i32x4.splat(0);
let f16Bias: v128 = i32x4.splat(0);
let f16Lowest: v128 = i32x4.splat(0);
let f16Power: v128 = i32x4.splat(0);

/** Sets the constants; every thread calls it once, behind prepareDot and before all else. */
export function prepareFields(): void {
  fourBits = i8x16.splat(0x0f);
  fifthBit = i8x16.splat(0x10);
  upperTwo = i8x16.splat(0x30);
  flips = i32x4.splat(weightFlip() == 0 ? 0 : -1);
  f16Fields = i32x4.splat(0x8fffe000);
  f16Magnitude = i32x4.splat(0x7fffffff);
  f16Exponent = i32x4.splat(0x0f800000);
  // 127 − 15
  f16Bias = i32x4.splat(112 << 23);
  f16Lowest = f32x4.splat(6.103515625e-5);
  // 2^112
  f16Power = i32x4.splat(0x77800000);
}

/** Quad j of 32 columns of four rows, one byte a field; `at` is the block, `rows` 0, or 1 for rows 4…7. */
@inline
export function quadOf(dtype: i32, j: i32, at: usize, rows: usize): v128 {
  const fields = at + fieldsAt(dtype) + rows * 16;
  if (dtype == Q8_0) return v128.load(fields + <usize>j * VECTORS);
  const nibbles = fields + <usize>(j >> 1) * VECTORS;
  const low = (j & 1) == 0 ? lowerFields(nibbles) : upperFields(nibbles);
  // Shifts of 16-bit lanes: what comes from the neighbouring byte is masked away.
  if (dtype == Q5_K) return v128.or(low, fifthBits(at, j, <i32>rows));
  if (dtype == Q6_K) return v128.or(low, upperTwoBits(v128.load(at + UPPER_BITS + <usize>(j >> 1) * 16), j & 1, <i32>rows));
  return low;
}

/** Bit 4 of quad j of q5_k, of the block of 32 columns at `at`: `rows` is 0 or 1. */
@inline
export function fifthBits(at: usize, j: i32, rows: i32): v128 {
  const bits = v128.load(at + fieldsAt(Q5_K) + 4 * VECTORS + <usize>rows * 16);
  return v128.and(i16x8.shl(i16x8.shr_u(bits, j), 4), fifthBit);
}

/** Bits 4 and 5 of a quad of q6_k from the vector of its and its neighbour's: `odd` and `rows` are 0 or 1. */
@inline
export function upperTwoBits(bits: v128, odd: i32, rows: i32): v128 {
  const shift = 4 - 2 * odd - 4 * rows;
  return v128.and(shift > 0 ? i16x8.shl(bits, shift) : shift < 0 ? i16x8.shr_u(bits, -shift) : bits, upperTwo);
}

/** A quad from the lower nibbles of the vector at `at`. */
@inline
export function lowerFields(at: usize): v128 {
  return v128.and(v128.load(at), fourBits);
}

/** A quad from the upper nibbles. */
@inline
export function upperFields(at: usize): v128 {
  return v128.and(i16x8.shr_u(v128.load(at), 4), fourBits);
}

/** What a field is more than its value, as this CPU takes fields. */
export function offsetOf(dtype: i32): i32 {
  if (offsetShift(dtype) == 0 || (dtype == Q8_0 && weightFlip() == 0)) return 0;
  return 1 << offsetShift(dtype);
}

/** Minus the offset of fields times the sum of x's values, in all lanes; x is a block as of rounded.wasm.ts, `half` as of scaleOf. */
@inline
export function correction(dtype: i32, x: usize, half: i32): v128 {
  if (offsetShift(dtype) == 0) return i32x4.splat(0);
  let sum = v128.load32_splat(x, X_SUM);
  if (scaleColumns(dtype) == 16) {
    const first = v128.load32_splat(x, X_HALF_SUM);
    sum = half == 0 ? first : i32x4.sub(sum, first);
  }
  const most = i32x4.neg(i32x4.shl(sum, offsetShift(dtype)));
  return dtype == Q8_0 ? v128.and(most, flips) : most;
}

/** What a header multiplies four rows with: `rows` 0, or 1 for rows 4…7. */
@inline
export function factorsOf(dtype: i32, header: usize, rows: usize): v128 {
  if (dtype == Q8_0) return v128.load(header + rows * 16);
  return dtype == Q4_0 ? fourLargeF16(header + rows * 8) : fourF16(header + rows * 8);
}

/** What a header multiplies the minima of four rows with. */
@inline
export function minFactorsOf(dtype: i32, header: usize, rows: usize): v128 {
  return hasMin(dtype) ? fourF16(header + 16 + rows * 8) : f32x4.splat(0);
}

/**
 * d (or dmin) of four rows. Subnormal f16 are common here, and a product of what would be subnormal f32 costs Intel's CPUs a
 * hundred cycles: so f16's fields go into f32's with the exponent of f32, which gives a subnormal f16 of m · 2^-24 as
 * 2^-15 + m · 2^-25, from which it is made with a sum.
 */
@inline
export function fourF16(at: usize): v128 {
  const fields = v128.and(i32x4.shl(v128.load16x4_s(at), 13), f16Fields);
  const normal = i32x4.add(fields, f16Bias);
  const isSubnormal = i32x4.eq(v128.and(fields, f16Exponent), i32x4.splat(0));
  const lowest = v128.or(v128.andnot(fields, f16Magnitude), f16Lowest);
  return f32x4.add(normal, v128.and(isSubnormal, f32x4.sub(normal, lowest)));
}

/** The same in a third of the steps where subnormal f16 are rare: d of q4_0 is an eighth of a weight, that of q4_k a thousandth. */
@inline
function fourLargeF16(at: usize): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(at), 13), f16Fields), f16Power);
}

/** Four unsigned bytes. */
@inline
function fourBytes(at: usize): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at))));
}

/** Four signed bytes. */
@inline
function fourSigned(at: usize): v128 {
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(i16x8.extend_low_i8x16_s(v128.load32_zero(at))));
}

/** What 16 columns of four rows are multiplied with: half 0 or 1 of the block at `at`; d as of factorsOf, `rows` as there. */
@inline
export function scaleOf(dtype: i32, d: v128, at: usize, rows: usize, half: i32): v128 {
  if (dtype <= Q4_0) return d;
  if (dtype == Q6_K) return f32x4.mul(d, fourSigned(at + rows * 4 + <usize>half * 8));
  return f32x4.mul(d, fourBytes(at + rows * 4));
}

/** The minimum of 32 columns of four rows; e as of minFactorsOf. */
@inline
export function minOf(e: v128, at: usize, rows: usize): v128 {
  return f32x4.mul(e, fourBytes(at + 8 + rows * 4));
}

/** Columns that share a scale. */
@inline
export function scaleColumns(dtype: i32): i32 {
  return dtype == Q6_K ? 16 : 32;
}
