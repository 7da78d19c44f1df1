// Dot products of bytes. i32x4.relaxed_dot_i8x16_i7x16_add_s adds four products of int8 a lane, and lets CPUs differ where a byte of
// its second operand has the highest bit set. Which way this CPU goes is found out once: two of the three ways are exact.
//
//   x86 with AVX-VNNI                      the second operand is 0 … 255
//   ARM, x86 with AVX-VNNI-INT8            the second operand is −128 … 127
//   other x86                              pairs of products saturate at 16 bits: not used, int16 products instead
//
// Activations of 16 bits are 256 h + l with h and l int8, the first operand; weights are the second.

@inline const WORDS: i32 = 0;
@inline const SIGNED: i32 = 1;
@inline const UNSIGNED: i32 = 2;

let way: i32 = WORDS;

/** Finds out what this CPU does; every thread calls it once, before all else. @param zero the address of 16 bytes that are 0 */
export function prepareDot(zero: usize): void {
  if (!ASC_FEATURE_RELAXED_SIMD) return;
  // From memory, so that no compiler computes the answer instead of the CPU.
  const ones = v128.not(v128.load(zero));
  const product = i32x4.extract_lane(dot(i8x16.shr_u(ones, 1), ones, i32x4.splat(0)), 0);
  way = product == 4 * 127 * 255 ? UNSIGNED : product == -4 * 127 ? SIGNED : WORDS;
}

/** Whether `dot` may be used with any bytes as this CPU takes them. */
export function multipliesBytes(): bool {
  return way != WORDS;
}

/** What int8 weights are XORed with to be `dot`'s second operand: 0x80 makes them 0 … 255, 128 more than their value. */
export function weightFlip(): i32 {
  return way == UNSIGNED ? 0x80 : 0;
}

/** Lane i of c plus the products of bytes 4 i … 4 i + 3 of x and w. */
@inline
export function dot(x: v128, w: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, c);
  return unreachable();
}
