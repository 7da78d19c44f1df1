// One row of x times packed integers: decode, which reads each weight once. Sums stay in integers for the columns that share a
// scale, then become f32; where values have a minimum it is multiplied with the block's sum of x.
//
// The inner loops are short on purpose. Of a loop written out, Binaryen makes one expression a sum, and V8 computes these one after
// the other: chains of products, with all the unpacked weights in memory meanwhile. Sums that a loop carries stay in registers.
import { dot, multipliesBytes } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";
import { grainOf, take } from "../../wasm/team.wasm";
import {
  blockBytes, correction, factorsOf, fieldGroupBytes, fieldsAt, fifthBits, hasMin, headerBytes, headerColumns, lowerFields, minFactorsOf, minOf,
  Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, quadOf, scaleColumns, scaleOf, UPPER_BITS, upperFields,
  upperTwoBits, VECTORS,
} from "./bit-fields.wasm";
import { finish, Linear } from "./operands.wasm";
import { GROUP } from "./packed.wasm";
import { blockBytesOf, joined, SPLIT, WORDS, X_NEGATIVE_SUM } from "./rounded.wasm";

/** Most groups that are read at once: each is a stream for the CPU's prefetcher, and eight get half as much again as two. */
@inline export const STREAMS: i32 = 8;
/** Bytes of the sums of one group. */
@inline const GROUP_SUMS: usize = 32;
/** Scratch memory for STREAMS groups' sums; encode.ts reserves it. */
@inline export const SUMS: usize = <usize>STREAMS * GROUP_SUMS;

/**
 * The only row of x times all groups. A piece of work is some times STREAMS of them.
 * @param x rounded as roundedForm says of one row
 * @param sums SUMS bytes of this thread
 */
export function oneRow(op: Linear, x: usize, sums: usize): void {
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const pieces = (groups + STREAMS - 1) / STREAMS;
  const grain = grainOf(pieces, 8);
  for (let piece = take(grain); piece < pieces; piece = take(grain)) {
    const first = piece * STREAMS, end = min((piece + grain) * STREAMS, groups);
    if (!multipliesBytes()) {
      for (let group = first; group < end; group++) oneGroup(op, group, x);
      continue;
    }
    // A stream is groups that lie one behind the other, the more the better; what is left over is taken two by two.
    const length = (end - first) / STREAMS;
    for (let i = 0; i < length; i++) severalGroups(op, first + i, length, STREAMS, x, sums);
    for (let group = first + length * STREAMS; group < end; group += 2) {
      severalGroups(op, group, group + 1 < end ? 1 : 0, 2, x, sums);
    }
  }
}

/** The outputs of `count` groups, an even number: group `first`, `first + step`, … A step of 0 computes one again. */
function severalGroups(op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  switch (op.dtype) {
    case Q8_0: severalQ8(op, first, step, count, x, sums); break;
    case Q4_0: severalQ4(op, first, step, count, x, sums); break;
    case Q4_K: severalQ4K(op, first, step, count, x, sums); break;
    case Q5_K: severalQ5K(op, first, step, count, x, sums); break;
    case Q6_K: severalQ6K(op, first, step, count, x, sums); break;
    default: unreachable();
  }
}

// A function for each type, exported by the module so that it stays one: where the optimiser has them in one function, it joins
// the cases again and looks at the type in the loops.
export function severalQ8(op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  severalOf(Q8_0, op, first, step, count, x, sums);
}

export function severalQ4(op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  severalOf(Q4_0, op, first, step, count, x, sums);
}

export function severalQ4K(op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  severalOf(Q4_K, op, first, step, count, x, sums);
}

export function severalQ5K(op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  severalOf(Q5_K, op, first, step, count, x, sums);
}

export function severalQ6K(op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  severalOf(Q6_K, op, first, step, count, x, sums);
}

@inline
function severalOf(dtype: i32, op: Linear, first: i32, step: i32, count: i32, x: usize, sums: usize): void {
  const groupBytes = fieldGroupBytes(dtype, op.cols);
  const stride = <usize>step * groupBytes;
  const end = sums + <usize>count * GROUP_SUMS;
  memory.fill(sums, 0, end - sums);
  let at = op.weight + <usize>first * groupBytes;
  for (let col = 0; col < op.cols; col += headerColumns(dtype)) {
    let w = at;
    for (let sum = sums; sum < end; sum += 2 * GROUP_SUMS) {
      addHeader(dtype, w, w + stride, x, sum);
      w += 2 * stride;
    }
    at += headerBytes(dtype) + <usize>(headerColumns(dtype) >> 5) * blockBytes(dtype);
    x += <usize>(headerColumns(dtype) >> 5) * blockBytesOf(SPLIT);
  }
  for (let group = first; sums < end; group += step) {
    finish(op, 0, group * GROUP, v128.load(sums), v128.load(sums, 16));
    sums += GROUP_SUMS;
  }
}

/** Adds the columns of one header of two groups, at w and v, to their sums at y. */
@inline
function addHeader(dtype: i32, w: usize, v: usize, x: usize, y: usize): void {
  const d0 = factorsOf(dtype, w, 0), d1 = factorsOf(dtype, w, 1), d2 = factorsOf(dtype, v, 0), d3 = factorsOf(dtype, v, 1);
  const e0 = minFactorsOf(dtype, w, 0), e1 = minFactorsOf(dtype, w, 1);
  const e2 = minFactorsOf(dtype, v, 0), e3 = minFactorsOf(dtype, v, 1);
  w += headerBytes(dtype);
  v += headerBytes(dtype);
  for (const end = w + <usize>(headerColumns(dtype) >> 5) * blockBytes(dtype); w < end; w += blockBytes(dtype)) {
    addColumns(dtype, 0, w, v, x, d0, d1, d2, d3, y);
    if (scaleColumns(dtype) == 16) addColumns(dtype, 1, w, v, x, d0, d1, d2, d3, y);
    if (hasMin(dtype)) {
      const sum = v128.load32_splat(x, X_NEGATIVE_SUM);
      v128.store(y, madd(minOf(e0, w, 0), sum, v128.load(y)));
      v128.store(y, madd(minOf(e1, w, 1), sum, v128.load(y, 16)), 16);
      v128.store(y, madd(minOf(e2, v, 0), sum, v128.load(y, 32)), 32);
      v128.store(y, madd(minOf(e3, v, 1), sum, v128.load(y, 48)), 48);
    }
    v += blockBytes(dtype);
    x += blockBytesOf(SPLIT);
  }
}

/** Adds the columns that share a scale: a block of 32 of each group, at w and v, or its half 0 or 1. */
@inline
function addColumns(
  dtype: i32, half: i32, w: usize, v: usize, x: usize, d0: v128, d1: v128, d2: v128, d3: v128, y: usize,
): void {
  const zero = i32x4.splat(0);
  let h0 = zero, h1 = zero, h2 = zero, h3 = zero;
  let l0 = correction(dtype, x, half);
  let l1 = l0, l2 = l0, l3 = l0;
  const from = x + 16 * half, end = from + scaleColumns(dtype);
  let a = w + fieldsAt(dtype) + half * 2 * VECTORS, b = v + fieldsAt(dtype) + half * 2 * VECTORS;
  // All quads of 8 bits, or the even ones.
  for (let p = from; p < end; p += dtype == Q8_0 ? 4 : 8) {
    const h = v128.load32_splat(p, 16), l = v128.load32_splat(p, 48);
    let q = dtype == Q8_0 ? v128.load(a) : lowerFields(a);
    if (dtype == Q5_K) q = v128.or(q, fifthBits(w, <i32>((p - x) >> 2), 0));
    if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(w + ((p - x) << 1), UPPER_BITS), 0, 0));
    h0 = dot(h, q, h0);
    l0 = dot(l, q, l0);
    q = dtype == Q8_0 ? v128.load(a, 16) : lowerFields(a + 16);
    if (dtype == Q5_K) q = v128.or(q, fifthBits(w, <i32>((p - x) >> 2), 1));
    if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(w + ((p - x) << 1), UPPER_BITS), 0, 1));
    h1 = dot(h, q, h1);
    l1 = dot(l, q, l1);
    q = dtype == Q8_0 ? v128.load(b) : lowerFields(b);
    if (dtype == Q5_K) q = v128.or(q, fifthBits(v, <i32>((p - x) >> 2), 0));
    if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(v + ((p - x) << 1), UPPER_BITS), 0, 0));
    h2 = dot(h, q, h2);
    l2 = dot(l, q, l2);
    q = dtype == Q8_0 ? v128.load(b, 16) : lowerFields(b + 16);
    if (dtype == Q5_K) q = v128.or(q, fifthBits(v, <i32>((p - x) >> 2), 1));
    if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(v + ((p - x) << 1), UPPER_BITS), 0, 1));
    h3 = dot(h, q, h3);
    l3 = dot(l, q, l3);
    a += VECTORS;
    b += VECTORS;
  }
  if (dtype != Q8_0) {
    a -= scaleColumns(dtype) * 4;
    b -= scaleColumns(dtype) * 4;
    for (let p = from; p < end; p += 8) {
      const h = v128.load32_splat(p, 20), l = v128.load32_splat(p, 52);
      let q = upperFields(a);
      if (dtype == Q5_K) q = v128.or(q, fifthBits(w, <i32>(((p - x) >> 2) + 1), 0));
      if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(w + ((p - x) << 1), UPPER_BITS), 1, 0));
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = upperFields(a + 16);
      if (dtype == Q5_K) q = v128.or(q, fifthBits(w, <i32>(((p - x) >> 2) + 1), 1));
      if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(w + ((p - x) << 1), UPPER_BITS), 1, 1));
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = upperFields(b);
      if (dtype == Q5_K) q = v128.or(q, fifthBits(v, <i32>(((p - x) >> 2) + 1), 0));
      if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(v + ((p - x) << 1), UPPER_BITS), 1, 0));
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = upperFields(b + 16);
      if (dtype == Q5_K) q = v128.or(q, fifthBits(v, <i32>(((p - x) >> 2) + 1), 1));
      if (dtype == Q6_K) q = v128.or(q, upperTwoBits(v128.load(v + ((p - x) << 1), UPPER_BITS), 1, 1));
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      a += VECTORS;
      b += VECTORS;
    }
  }
  const s = v128.load32_splat(x);
  v128.store(y, madd(joined(h0, l0), f32x4.mul(scaleOf(dtype, d0, w, 0, half), s), v128.load(y)));
  v128.store(y, madd(joined(h1, l1), f32x4.mul(scaleOf(dtype, d1, w, 1, half), s), v128.load(y, 16)), 16);
  v128.store(y, madd(joined(h2, l2), f32x4.mul(scaleOf(dtype, d2, v, 0, half), s), v128.load(y, 32)), 32);
  v128.store(y, madd(joined(h3, l3), f32x4.mul(scaleOf(dtype, d3, v, 1, half), s), v128.load(y, 48)), 48);
}

/** The 8 outputs of a group; x is WORDS. */
function oneGroup(op: Linear, group: i32, x: usize): void {
  const weight = op.weight + <usize>group * fieldGroupBytes(op.dtype, op.cols);
  switch (op.dtype) {
    case Q8_0: oneGroupQ8(op, weight, x, group * GROUP); break;
    case Q4_0: oneGroupQ4(op, weight, x, group * GROUP); break;
    case Q4_K: oneGroupQ4K(op, weight, x, group * GROUP); break;
    case Q5_K: oneGroupQ5K(op, weight, x, group * GROUP); break;
    case Q6_K: oneGroupQ6K(op, weight, x, group * GROUP); break;
    default: unreachable();
  }
}

export function oneGroupQ8(op: Linear, group: usize, x: usize, output: i32): void {
  oneGroupOf(Q8_0, op, group, x, output);
}

export function oneGroupQ4(op: Linear, group: usize, x: usize, output: i32): void {
  oneGroupOf(Q4_0, op, group, x, output);
}

export function oneGroupQ4K(op: Linear, group: usize, x: usize, output: i32): void {
  oneGroupOf(Q4_K, op, group, x, output);
}

export function oneGroupQ5K(op: Linear, group: usize, x: usize, output: i32): void {
  oneGroupOf(Q5_K, op, group, x, output);
}

export function oneGroupQ6K(op: Linear, group: usize, x: usize, output: i32): void {
  oneGroupOf(Q6_K, op, group, x, output);
}

@inline
function oneGroupOf(dtype: i32, op: Linear, w: usize, p: usize, output: i32): void {
  const zero = i32x4.splat(0);
  let y = zero, z = zero;
  for (let col = 0; col < op.cols; col += headerColumns(dtype)) {
    const d0 = factorsOf(dtype, w, 0), d1 = factorsOf(dtype, w, 1);
    const e0 = minFactorsOf(dtype, w, 0), e1 = minFactorsOf(dtype, w, 1);
    w += headerBytes(dtype);
    for (const end = w + <usize>(headerColumns(dtype) >> 5) * blockBytes(dtype); w < end; w += blockBytes(dtype)) {
      const s = v128.load32_splat(p);
      // A lane is two columns of a row: rows 0 and 1, 2 and 3, and so on.
      let r0 = zero, r2 = zero, r4 = zero, r6 = zero;
      let c = correction(dtype, p, 0);
      let a: v128, b: v128, u: v128;
      a = quadOf(dtype, 0, w, 0);
      b = quadOf(dtype, 0, w, 1);
      u = v128.load64_splat(p, 16);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 1, w, 0);
      b = quadOf(dtype, 1, w, 1);
      u = v128.load64_splat(p, 24);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 2, w, 0);
      b = quadOf(dtype, 2, w, 1);
      u = v128.load64_splat(p, 32);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 3, w, 0);
      b = quadOf(dtype, 3, w, 1);
      u = v128.load64_splat(p, 40);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      if (scaleColumns(dtype) == 16) {
        y = madd(paired(r0, r2, c), f32x4.mul(scaleOf(dtype, d0, w, 0, 0), s), y);
        z = madd(paired(r4, r6, c), f32x4.mul(scaleOf(dtype, d1, w, 1, 0), s), z);
        r0 = r2 = r4 = r6 = zero;
        c = correction(dtype, p, 1);
      }
      a = quadOf(dtype, 4, w, 0);
      b = quadOf(dtype, 4, w, 1);
      u = v128.load64_splat(p, 48);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 5, w, 0);
      b = quadOf(dtype, 5, w, 1);
      u = v128.load64_splat(p, 56);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 6, w, 0);
      b = quadOf(dtype, 6, w, 1);
      u = v128.load64_splat(p, 64);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 7, w, 0);
      b = quadOf(dtype, 7, w, 1);
      u = v128.load64_splat(p, 72);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      y = madd(paired(r0, r2, c), f32x4.mul(scaleOf(dtype, d0, w, 0, 1), s), y);
      z = madd(paired(r4, r6, c), f32x4.mul(scaleOf(dtype, d1, w, 1, 1), s), z);
      if (hasMin(dtype)) {
        const sum = v128.load32_splat(p, X_NEGATIVE_SUM);
        y = madd(minOf(e0, w, 0), sum, y);
        z = madd(minOf(e1, w, 1), sum, z);
      }
      p += blockBytesOf(WORDS);
    }
  }
  finish(op, 0, output, y, z);
}

/** The sums of neighbouring lanes plus c, as f32. */
@inline
export function paired(a: v128, b: v128, c: v128): v128 {
  const sums = i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
  return f32x4.convert_i32x4_s(i32x4.add(sums, c));
}
