// One row of x times packed integers: decode, which reads each weight once. Sums stay in integers for the columns that share a
// scale, then become f32; where values have a minimum it is multiplied with the block's sum of x.
import { dot } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";
import {
  blockBytes, correction, factorsOf, hasMin, headerBytes, headerColumns, minFactorsOf, minOf, Q4_0, Q4_K, Q5_K, Q6_K,
  Q8_0, quadOf, scaleColumns, scaleOf,
} from "./bit-fields.wasm";
import { finish, Linear } from "./operands.wasm";
import { blockBytesOf, SPLIT, WORDS, X_NEGATIVE_SUM } from "./rounded.wasm";

/**
 * 16 outputs: of the groups at `first` and `second`, whose first outputs are `output` and `other`. Two at once because each is a
 * stream for the CPU's prefetcher, and one alone does not keep the memory busy. x is SPLIT.
 */
export function twoGroups(op: Linear, first: usize, second: usize, x: usize, row: i32, output: i32, other: i32): void {
  switch (op.dtype) {
    case Q8_0: twoGroupsQ8(op, first, second, x, row, output, other); break;
    case Q4_0: twoGroupsQ4(op, first, second, x, row, output, other); break;
    case Q4_K: twoGroupsQ4K(op, first, second, x, row, output, other); break;
    case Q5_K: twoGroupsQ5K(op, first, second, x, row, output, other); break;
    case Q6_K: twoGroupsQ6K(op, first, second, x, row, output, other); break;
    default: unreachable();
  }
}

// A function for each type, exported by the module so that it stays one: where the optimiser has them in one function, it joins
// the cases again and looks at the type in the loops.
export function twoGroupsQ8(op: Linear, first: usize, second: usize, x: usize, row: i32, output: i32, other: i32): void {
  twoGroupsOf(Q8_0, op, first, second, x, row, output, other);
}

export function twoGroupsQ4(op: Linear, first: usize, second: usize, x: usize, row: i32, output: i32, other: i32): void {
  twoGroupsOf(Q4_0, op, first, second, x, row, output, other);
}

export function twoGroupsQ4K(op: Linear, first: usize, second: usize, x: usize, row: i32, output: i32, other: i32): void {
  twoGroupsOf(Q4_K, op, first, second, x, row, output, other);
}

export function twoGroupsQ5K(op: Linear, first: usize, second: usize, x: usize, row: i32, output: i32, other: i32): void {
  twoGroupsOf(Q5_K, op, first, second, x, row, output, other);
}

export function twoGroupsQ6K(op: Linear, first: usize, second: usize, x: usize, row: i32, output: i32, other: i32): void {
  twoGroupsOf(Q6_K, op, first, second, x, row, output, other);
}

@inline
function twoGroupsOf(dtype: i32, op: Linear, w: usize, v: usize, p: usize, row: i32, output: i32, other: i32): void {
  const zero = i32x4.splat(0);
  let y0 = zero, y1 = zero, y2 = zero, y3 = zero;
  for (let col = 0; col < op.cols; col += headerColumns(dtype)) {
    const d0 = factorsOf(dtype, w, 0), d1 = factorsOf(dtype, w, 1), d2 = factorsOf(dtype, v, 0), d3 = factorsOf(dtype, v, 1);
    const e0 = minFactorsOf(dtype, w, 0), e1 = minFactorsOf(dtype, w, 1);
    const e2 = minFactorsOf(dtype, v, 0), e3 = minFactorsOf(dtype, v, 1);
    w += headerBytes(dtype);
    v += headerBytes(dtype);
    for (const end = w + <usize>(headerColumns(dtype) >> 5) * blockBytes(dtype); w < end; w += blockBytes(dtype)) {
      const s = v128.load32_splat(p);
      let h0 = zero, h1 = zero, h2 = zero, h3 = zero;
      let l0 = correction(dtype, p, 0);
      let l1 = l0, l2 = l0, l3 = l0;
      let h: v128, l: v128, q: v128;
      h = v128.load32_splat(p, 16);
      l = v128.load32_splat(p, 48);
      q = quadOf(dtype, 0, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 0, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 0, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 0, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 20);
      l = v128.load32_splat(p, 52);
      q = quadOf(dtype, 1, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 1, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 1, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 1, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 24);
      l = v128.load32_splat(p, 56);
      q = quadOf(dtype, 2, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 2, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 2, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 2, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 28);
      l = v128.load32_splat(p, 60);
      q = quadOf(dtype, 3, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 3, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 3, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 3, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      if (scaleColumns(dtype) == 16) {
        y0 = madd(joined(h0, l0), f32x4.mul(scaleOf(dtype, d0, w, 0, 0), s), y0);
        y1 = madd(joined(h1, l1), f32x4.mul(scaleOf(dtype, d1, w, 1, 0), s), y1);
        y2 = madd(joined(h2, l2), f32x4.mul(scaleOf(dtype, d2, v, 0, 0), s), y2);
        y3 = madd(joined(h3, l3), f32x4.mul(scaleOf(dtype, d3, v, 1, 0), s), y3);
        h0 = h1 = h2 = h3 = zero;
        l0 = correction(dtype, p, 1);
        l1 = l2 = l3 = l0;
      }
      h = v128.load32_splat(p, 32);
      l = v128.load32_splat(p, 64);
      q = quadOf(dtype, 4, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 4, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 4, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 4, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 36);
      l = v128.load32_splat(p, 68);
      q = quadOf(dtype, 5, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 5, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 5, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 5, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 40);
      l = v128.load32_splat(p, 72);
      q = quadOf(dtype, 6, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 6, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 6, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 6, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 44);
      l = v128.load32_splat(p, 76);
      q = quadOf(dtype, 7, w);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 7, w + 16);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 7, v);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 7, v + 16);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      y0 = madd(joined(h0, l0), f32x4.mul(scaleOf(dtype, d0, w, 0, 1), s), y0);
      y1 = madd(joined(h1, l1), f32x4.mul(scaleOf(dtype, d1, w, 1, 1), s), y1);
      y2 = madd(joined(h2, l2), f32x4.mul(scaleOf(dtype, d2, v, 0, 1), s), y2);
      y3 = madd(joined(h3, l3), f32x4.mul(scaleOf(dtype, d3, v, 1, 1), s), y3);
      if (hasMin(dtype)) {
        const sum = v128.load32_splat(p, X_NEGATIVE_SUM);
        y0 = madd(minOf(e0, w, 0), sum, y0);
        y1 = madd(minOf(e1, w, 1), sum, y1);
        y2 = madd(minOf(e2, v, 0), sum, y2);
        y3 = madd(minOf(e3, v, 1), sum, y3);
      }
      v += blockBytes(dtype);
      p += blockBytesOf(SPLIT);
    }
  }
  finish(op, row, output, y0, y1);
  finish(op, row, other, y2, y3);
}

/** 256 h + l as f32. */
@inline
function joined(h: v128, l: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.shl(h, 8), l));
}

/** 8 outputs; x is WORDS. */
export function oneGroup(op: Linear, group: usize, x: usize, row: i32, output: i32): void {
  switch (op.dtype) {
    case Q8_0: oneGroupQ8(op, group, x, row, output); break;
    case Q4_0: oneGroupQ4(op, group, x, row, output); break;
    case Q4_K: oneGroupQ4K(op, group, x, row, output); break;
    case Q5_K: oneGroupQ5K(op, group, x, row, output); break;
    case Q6_K: oneGroupQ6K(op, group, x, row, output); break;
    default: unreachable();
  }
}

export function oneGroupQ8(op: Linear, group: usize, x: usize, row: i32, output: i32): void {
  oneGroupOf(Q8_0, op, group, x, row, output);
}

export function oneGroupQ4(op: Linear, group: usize, x: usize, row: i32, output: i32): void {
  oneGroupOf(Q4_0, op, group, x, row, output);
}

export function oneGroupQ4K(op: Linear, group: usize, x: usize, row: i32, output: i32): void {
  oneGroupOf(Q4_K, op, group, x, row, output);
}

export function oneGroupQ5K(op: Linear, group: usize, x: usize, row: i32, output: i32): void {
  oneGroupOf(Q5_K, op, group, x, row, output);
}

export function oneGroupQ6K(op: Linear, group: usize, x: usize, row: i32, output: i32): void {
  oneGroupOf(Q6_K, op, group, x, row, output);
}

@inline
function oneGroupOf(dtype: i32, op: Linear, w: usize, p: usize, row: i32, output: i32): void {
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
      a = quadOf(dtype, 0, w);
      b = quadOf(dtype, 0, w + 16);
      u = v128.load64_splat(p, 16);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 1, w);
      b = quadOf(dtype, 1, w + 16);
      u = v128.load64_splat(p, 24);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 2, w);
      b = quadOf(dtype, 2, w + 16);
      u = v128.load64_splat(p, 32);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 3, w);
      b = quadOf(dtype, 3, w + 16);
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
      a = quadOf(dtype, 4, w);
      b = quadOf(dtype, 4, w + 16);
      u = v128.load64_splat(p, 48);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 5, w);
      b = quadOf(dtype, 5, w + 16);
      u = v128.load64_splat(p, 56);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 6, w);
      b = quadOf(dtype, 6, w + 16);
      u = v128.load64_splat(p, 64);
      r0 = i32x4.add(r0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(a), u));
      r2 = i32x4.add(r2, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(a), u));
      r4 = i32x4.add(r4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(b), u));
      r6 = i32x4.add(r6, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(b), u));
      a = quadOf(dtype, 7, w);
      b = quadOf(dtype, 7, w + 16);
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
  finish(op, row, output, y, z);
}

/** The sums of neighbouring lanes plus c, as f32. */
@inline
export function paired(a: v128, b: v128, c: v128): v128 {
  const sums = i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
  return f32x4.convert_i32x4_s(i32x4.add(sums, c));
}
