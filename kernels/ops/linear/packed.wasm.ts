// How matrices lie in memory: groups of 8 rows (the last padded with zeros), and inside a group by columns, so that a
// vector holds the same column of neighbouring rows: a product then needs no horizontal sums.
//
//   f32          [column][8 rows]
//   f16, bf16    the same with 2 bytes a value
//   q8_0, q4_0, q4_k, q5_k, q6_k: see bit-fields.wasm.ts
import { fieldGroupBytes, prepareFields, Q8_0 } from "./bit-fields.wasm";
import { expandFieldGroup, expandFieldRow } from "./expand-fields.wasm";
import { packFieldRow, storedRowBytes } from "./pack-bit-fields.wasm";
import { prepareRounded } from "./rounded.wasm";

export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 2;

/** Rows of a group. */
export const GROUP: i32 = 8;

export function groupBytes(dtype: i32, cols: i32): usize {
  if (dtype >= Q8_0) return fieldGroupBytes(dtype, cols);
  return <usize>cols << (dtype == F32 ? 5 : 4);
}

/**
 * Rearranges rows as they come (see dtype.ts) into groups. Returns 1 if a value is an f16 infinity or NaN, which no
 * trained weight is and f16's fast conversion does not know; else 0.
 */
export function packRows(from: usize, to: usize, rows: i32, dtype: i32, cols: i32): i32 {
  const size = groupBytes(dtype, cols);
  memory.fill(to, 0, <usize>((rows + GROUP - 1) / GROUP) * size);
  let bad = 0;
  for (let row = 0; row < rows; row++) {
    const group = to + <usize>(row / GROUP) * size;
    const lane = <usize>(row % GROUP);
    if (dtype >= Q8_0) {
      bad |= packFieldRow(from, group, lane, dtype, cols);
      from += storedRowBytes(dtype, cols);
    } else if (dtype == F32) {
      for (let k: usize = 0; k < <usize>cols; k++) {
        store<f32>(group + (k << 5) + (lane << 2), load<f32>(from));
        from += 4;
      }
    } else {
      for (let k: usize = 0; k < <usize>cols; k++) {
        const value = load<u16>(from);
        if (dtype == F16 && (value & 0x7c00) == 0x7c00) bad = 1;
        store<u16>(group + (k << 4) + (lane << 1), value);
        from += 2;
      }
    }
  }
  return bad;
}

/** One row as f32, for embedding. */
export function expandRow(weight: usize, dtype: i32, cols: i32, row: i32, to: usize): void {
  const group = weight + <usize>(row / GROUP) * groupBytes(dtype, cols);
  const lane = <usize>(row % GROUP);
  if (dtype >= Q8_0) expandFieldRow(group, lane, dtype, cols, to);
  else for (let col = 0; col < cols; col++) store<f32>(to + (<usize>col << 2), valueOf(group, lane, dtype, col));
}

function valueOf(group: usize, lane: usize, dtype: i32, col: i32): f32 {
  if (dtype == F32) return load<f32>(group + (<usize>col << 5) + (lane << 2));
  const bits = <i32>load<u16>(group + (<usize>col << 4) + (lane << 1));
  if (dtype == BF16) return reinterpret<f32>(bits << 16);
  return halfValue(bits);
}

function halfValue(bits: i32): f32 {
  return f32x4.extract_lane(halves(i32x4.splat(bits << 16)), 0);
}

/** Rows 0…3 and 4…7 of eight bf16: the upper halves of f32. */
@inline
export function lowBf16(bits: v128): v128 {
  return v128.shuffle<i16>(i16x8.splat(0), bits, 0, 8, 1, 9, 2, 10, 3, 11);
}

@inline
export function highBf16(bits: v128): v128 {
  return v128.shuffle<i16>(i16x8.splat(0), bits, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Rows 0…3 and 4…7 of eight f16, subnormals included, infinities and NaN not. */
@inline
export function lowF16(bits: v128): v128 {
  return halves(lowBf16(bits));
}

@inline
export function highF16(bits: v128): v128 {
  return halves(highBf16(bits));
}

// See wasm/math.wasm.ts for why these are no constants.
let f16Fields: v128 = i32x4.splat(0);
let f16Power: v128 = i32x4.splat(0);

/** Sets the constants; every thread calls it once, before all else. */
export function preparePacked(): void {
  prepareFields();
  prepareRounded();
  f16Fields = i32x4.splat(0x8fffe000);
  f16Power = i32x4.splat(0x77800000);
}

/** From an f16 in the upper half of each lane: its fields in f32's places, times 2^112 for the biases (127 − 15). */
@inline
function halves(bits: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shr_s(bits, 3), f16Fields), f16Power);
}

/** A group of any type but f32 as [column][8] f32. */
export function expandGroup(group: usize, dtype: i32, cols: i32, to: usize): void {
  if (dtype >= Q8_0) {
    expandFieldGroup(group, dtype, cols, to);
    return;
  }
  for (let k = 0; k < cols; k++) {
    const bits = v128.load(group);
    v128.store(to, dtype == BF16 ? lowBf16(bits) : lowF16(bits));
    v128.store(to, dtype == BF16 ? highBf16(bits) : highF16(bits), 16);
    group += 16;
    to += 32;
  }
}
