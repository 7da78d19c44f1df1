// From the fields of bit-fields.wasm.ts to values.
import { weightFlip } from "../../wasm/dot.wasm";
import {
  blockBytes, factorsOf, fieldsAt, fourF16, hasMin, headerBytes, headerColumns, minFactorsOf, minOf, offsetShift, Q4_0, Q4_K,
  Q5_K, Q6_K, Q8_0, quadOf, scaleColumns, scaleOf, VECTORS,
} from "./bit-fields.wasm";

/**
 * A group as a tile, for products with several rows: blocks of scaleColumns, each 8 scales as f32, 8 minima as f32 if values have
 * one, then the quads, a byte a field: [quads][8 rows][4]. A group of q8_0 is one as it lies.
 */
export function expandTile(group: usize, dtype: i32, cols: i32, to: usize): void {
  switch (dtype) {
    case Q4_0: tileQ4(group, cols, to); break;
    case Q4_K: tileQ4K(group, cols, to); break;
    case Q5_K: tileQ5K(group, cols, to); break;
    case Q6_K: tileQ6K(group, cols, to); break;
    default: unreachable();
  }
}

// A function for each type: in one, the optimiser would join the cases again and look at the type in the loops.
function tileQ4(group: usize, cols: i32, to: usize): void {
  tileOf(Q4_0, group, cols, to);
}

function tileQ4K(group: usize, cols: i32, to: usize): void {
  tileOf(Q4_K, group, cols, to);
}

function tileQ5K(group: usize, cols: i32, to: usize): void {
  tileOf(Q5_K, group, cols, to);
}

function tileQ6K(group: usize, cols: i32, to: usize): void {
  tileOf(Q6_K, group, cols, to);
}

@inline
function tileOf(dtype: i32, group: usize, cols: i32, to: usize): void {
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const header = group;
    const d = factorsOf(dtype, header, 0), e = factorsOf(dtype, header, 1);
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      v128.store(to, scaleOf(dtype, d, group, 0, 0));
      v128.store(to, scaleOf(dtype, e, group, 1, 0), 16);
      to += 32;
      if (hasMin(dtype)) {
        v128.store(to, minOf(minFactorsOf(dtype, header, 0), group, 0));
        v128.store(to, minOf(minFactorsOf(dtype, header, 1), group, 1), 16);
        to += 32;
      }
      storeQuad(dtype, 0, group, to);
      storeQuad(dtype, 1, group, to + 32);
      storeQuad(dtype, 2, group, to + 64);
      storeQuad(dtype, 3, group, to + 96);
      to += 128;
      if (scaleColumns(dtype) == 16) {
        v128.store(to, scaleOf(dtype, d, group, 0, 1));
        v128.store(to, scaleOf(dtype, e, group, 1, 1), 16);
        to += 32;
      }
      storeQuad(dtype, 4, group, to);
      storeQuad(dtype, 5, group, to + 32);
      storeQuad(dtype, 6, group, to + 64);
      storeQuad(dtype, 7, group, to + 96);
      to += 128;
      group += blockBytes(dtype);
    }
  }
}

@inline
function storeQuad(dtype: i32, j: i32, at: usize, to: usize): void {
  v128.store(to, quadOf(dtype, j, at, 0));
  v128.store(to, quadOf(dtype, j, at, 1), 16);
}

/** A group as [column][8] f32. */
export function expandFieldGroup(group: usize, dtype: i32, cols: i32, to: usize): void {
  switch (dtype) {
    case Q8_0: floatsQ8(group, cols, to); break;
    case Q4_0: floatsQ4(group, cols, to); break;
    case Q4_K: floatsQ4K(group, cols, to); break;
    case Q5_K: floatsQ5K(group, cols, to); break;
    case Q6_K: floatsQ6K(group, cols, to); break;
    default: unreachable();
  }
}

function floatsQ8(group: usize, cols: i32, to: usize): void {
  floatsOf(Q8_0, group, cols, to);
}

function floatsQ4(group: usize, cols: i32, to: usize): void {
  floatsOf(Q4_0, group, cols, to);
}

function floatsQ4K(group: usize, cols: i32, to: usize): void {
  floatsOf(Q4_K, group, cols, to);
}

function floatsQ5K(group: usize, cols: i32, to: usize): void {
  floatsOf(Q5_K, group, cols, to);
}

function floatsQ6K(group: usize, cols: i32, to: usize): void {
  floatsOf(Q6_K, group, cols, to);
}

@inline
function floatsOf(dtype: i32, group: usize, cols: i32, to: usize): void {
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const header = group;
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      // Rows 0…3, then 4…7.
      for (let rows: usize = 0; rows < 2; rows++) {
        const d = factorsOf(dtype, header, rows);
        const min = hasMin(dtype) ? minOf(minFactorsOf(dtype, header, rows), group, rows) : f32x4.splat(0);
        const into = to + rows * 16;
        let scale = scaleOf(dtype, d, group, rows, 0);
        expandQuad(dtype, quadOf(dtype, 0, group, rows), scale, min, into);
        expandQuad(dtype, quadOf(dtype, 1, group, rows), scale, min, into + 128);
        expandQuad(dtype, quadOf(dtype, 2, group, rows), scale, min, into + 256);
        expandQuad(dtype, quadOf(dtype, 3, group, rows), scale, min, into + 384);
        if (scaleColumns(dtype) == 16) scale = scaleOf(dtype, d, group, rows, 1);
        expandQuad(dtype, quadOf(dtype, 4, group, rows), scale, min, into + 512);
        expandQuad(dtype, quadOf(dtype, 5, group, rows), scale, min, into + 640);
        expandQuad(dtype, quadOf(dtype, 6, group, rows), scale, min, into + 768);
        expandQuad(dtype, quadOf(dtype, 7, group, rows), scale, min, into + 896);
      }
      to += 1024;
      group += blockBytes(dtype);
    }
  }
}

/** Four columns of four rows. */
@inline
function expandQuad(dtype: i32, quad: v128, scale: v128, min: v128, to: usize): void {
  if (dtype == Q8_0) quad = v128.xor(quad, i8x16.splat(<i8>weightFlip()));
  v128.store(to, valuesOf(dtype, i32x4.shl(quad, 24), scale, min));
  v128.store(to, valuesOf(dtype, i32x4.shl(quad, 16), scale, min), 32);
  v128.store(to, valuesOf(dtype, i32x4.shl(quad, 8), scale, min), 64);
  v128.store(to, valuesOf(dtype, quad, scale, min), 96);
}

/** The values whose fields are the highest bytes. */
@inline
function valuesOf(dtype: i32, lanes: v128, scale: v128, min: v128): v128 {
  let fields = i32x4.shr_s(lanes, 24);
  if (dtype == Q4_0 || dtype == Q6_K) fields = i32x4.sub(fields, i32x4.splat(1 << offsetShift(dtype)));
  const values = f32x4.mul(f32x4.convert_i32x4_s(fields), scale);
  return hasMin(dtype) ? f32x4.sub(values, min) : values;
}

/** One row as f32, in the steps of dequantise.ts; `lane` is its row of the group. */
export function expandFieldRow(group: usize, lane: usize, dtype: i32, cols: i32, to: usize): void {
  for (let col = 0; col < cols; col += headerColumns(dtype)) {
    const d = dtype == Q8_0 ? load<f32>(group + lane * 4) : oneF16(group + lane * 2);
    const dMin: f32 = hasMin(dtype) ? oneF16(group + lane * 2 + 16) : 0;
    group += headerBytes(dtype);
    for (let block = 0; block < headerColumns(dtype) >> 5; block++) {
      const min: f32 = hasMin(dtype) ? dMin * <f32>load<u8>(group + lane, 8) : 0;
      for (let k = 0; k < 32; k++) {
        let scale = d;
        if (hasMin(dtype)) scale *= <f32>load<u8>(group + lane);
        else if (dtype == Q6_K) scale *= <f32>load<i8>(group + lane + (k >> 4) * 8);
        store<f32>(to, scale * <f32>integerOf(group + fieldsAt(dtype), lane, dtype, k) - min);
        to += 4;
      }
      group += blockBytes(dtype);
    }
  }
}

/** The integer in column k of 32 of row `lane`; `from` is the block's first vector. */
function integerOf(from: usize, lane: usize, dtype: i32, k: i32): i32 {
  const j = k >> 2;
  // Where the row's lane is in a vector.
  const place = (lane & 3) * 4 + <usize>(k & 3);
  const at = from + (lane >> 2) * 16 + place;
  if (dtype == Q8_0) return <i32><i8>(load<u8>(at + <usize>j * VECTORS) ^ <u8>weightFlip());
  const low = (<i32>load<u8>(at + <usize>(j >> 1) * VECTORS) >> 4 * (j & 1)) & 15;
  if (dtype == Q5_K) return low | (((<i32>load<u8>(at + 4 * VECTORS) >> j) & 1) << 4);
  if (dtype == Q6_K) {
    const bits = <i32>load<u8>(from + 4 * VECTORS + <usize>(j >> 1) * 16 + place);
    return (low | (((bits >> (4 * <i32>(lane >> 2) + 2 * (j & 1))) & 3) << 4)) - 32;
  }
  return dtype == Q4_0 ? low - 8 : low;
}

function oneF16(at: usize): f32 {
  return f32x4.extract_lane(fourF16(at), 0);
}
