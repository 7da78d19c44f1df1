// One row of x times two groups of fields whose upper bits lie apart, with the quads of 32 columns written out. See one-row.wasm.ts.
import { dot } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";
import {
  blockBytes, correction, factorsOf, hasMin, headerBytes, headerColumns, minFactorsOf, minOf, Q5_K, quadOf, scaleColumns, scaleOf,
} from "./bit-fields.wasm";
import { finish, Linear } from "./operands.wasm";
import { blockBytesOf, SPLIT, X_NEGATIVE_SUM } from "./rounded.wasm";

/** 16 outputs: of the groups at `first` and `second`, whose first outputs are `output` and `other`. x is SPLIT. */
export function twoGroupsQ5K(op: Linear, first: usize, second: usize, x: usize, output: i32, other: i32): void {
  twoGroupsOf(Q5_K, op, first, second, x, output, other);
}

@inline
function twoGroupsOf(dtype: i32, op: Linear, w: usize, v: usize, p: usize, output: i32, other: i32): void {
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
      q = quadOf(dtype, 0, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 0, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 0, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 0, v, 1);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 20);
      l = v128.load32_splat(p, 52);
      q = quadOf(dtype, 1, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 1, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 1, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 1, v, 1);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 24);
      l = v128.load32_splat(p, 56);
      q = quadOf(dtype, 2, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 2, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 2, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 2, v, 1);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 28);
      l = v128.load32_splat(p, 60);
      q = quadOf(dtype, 3, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 3, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 3, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 3, v, 1);
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
      q = quadOf(dtype, 4, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 4, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 4, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 4, v, 1);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 36);
      l = v128.load32_splat(p, 68);
      q = quadOf(dtype, 5, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 5, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 5, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 5, v, 1);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 40);
      l = v128.load32_splat(p, 72);
      q = quadOf(dtype, 6, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 6, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 6, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 6, v, 1);
      h3 = dot(h, q, h3);
      l3 = dot(l, q, l3);
      h = v128.load32_splat(p, 44);
      l = v128.load32_splat(p, 76);
      q = quadOf(dtype, 7, w, 0);
      h0 = dot(h, q, h0);
      l0 = dot(l, q, l0);
      q = quadOf(dtype, 7, w, 1);
      h1 = dot(h, q, h1);
      l1 = dot(l, q, l1);
      q = quadOf(dtype, 7, v, 0);
      h2 = dot(h, q, h2);
      l2 = dot(l, q, l2);
      q = quadOf(dtype, 7, v, 1);
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
  finish(op, 0, output, y0, y1);
  finish(op, 0, other, y2, y3);
}

/** 256 h + l as f32. */
@inline
export function joined(h: v128, l: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.add(i32x4.shl(h, 8), l));
}
