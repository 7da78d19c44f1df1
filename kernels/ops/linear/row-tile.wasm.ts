// Several rows of x times a group of weights as a tile (see expandTile): 8 outputs of each row.
import { dot } from "../../wasm/dot.wasm";
import { madd } from "../../wasm/math.wasm";
import { correction, hasMin, Q4_0, Q4_K, Q5_K, Q6_K, Q8_0, scaleColumns } from "./bit-fields.wasm";
import { tileBlockBytes } from "./expand-fields.wasm";
import { paired } from "./one-row.wasm";
import { finish, Linear } from "./operands.wasm";
import { BYTES, SPLIT, X_NEGATIVE_SUM } from "./rounded.wasm";

/** 4 rows, of which the first `done` were written before; x is BYTES. */
export function rowsOfBytes(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  switch (op.dtype) {
    case Q8_0: bytesQ8(op, tile, x, rowBytes, row, done, output); break;
    case Q4_0: bytesQ4(op, tile, x, rowBytes, row, done, output); break;
    case Q4_K:
    case Q5_K: bytesQ4K(op, tile, x, rowBytes, row, done, output); break;
    case Q6_K: bytesQ6K(op, tile, x, rowBytes, row, done, output); break;
    default: unreachable();
  }
}

/** The same; x is SPLIT. */
export function rowsOfSplit(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  switch (op.dtype) {
    case Q8_0: splitQ8(op, tile, x, rowBytes, row, done, output); break;
    case Q4_0: splitQ4(op, tile, x, rowBytes, row, done, output); break;
    case Q4_K:
    case Q5_K: splitQ4K(op, tile, x, rowBytes, row, done, output); break;
    case Q6_K: splitQ6K(op, tile, x, rowBytes, row, done, output); break;
    default: unreachable();
  }
}

// A function for each type, exported by the module so that it stays one: where the optimiser has them in one function, it joins
// the cases again and looks at the type in the loops.
export function bytesQ8(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q8_0, BYTES, op, tile, x, rowBytes, row, done, output);
}

export function bytesQ4(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q4_0, BYTES, op, tile, x, rowBytes, row, done, output);
}

export function bytesQ4K(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q4_K, BYTES, op, tile, x, rowBytes, row, done, output);
}

export function bytesQ6K(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q6_K, BYTES, op, tile, x, rowBytes, row, done, output);
}

export function splitQ8(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q8_0, SPLIT, op, tile, x, rowBytes, row, done, output);
}

export function splitQ4(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q4_0, SPLIT, op, tile, x, rowBytes, row, done, output);
}

export function splitQ4K(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q4_K, SPLIT, op, tile, x, rowBytes, row, done, output);
}

export function splitQ6K(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  bytesOf(Q6_K, SPLIT, op, tile, x, rowBytes, row, done, output);
}

/** SPLIT x first with h of all columns, then with l: eight sums, two vectors of weights and one of x stay in the 16 registers. */
@inline
function bytesOf(dtype: i32, form: i32, op: Linear, w: usize, p0: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  const zero = i32x4.splat(0);
  let p1 = p0 + rowBytes, p2 = p1 + rowBytes, p3 = p2 + rowBytes;
  let y0 = zero, y1 = zero, y2 = zero, y3 = zero;
  let z0 = zero, z1 = zero, z2 = zero, z3 = zero;
  // What leads from behind a pass over h to l, and from behind l to the next h, the header of x's block in between or not.
  const toLow: usize = 32 - scaleColumns(dtype);
  for (let col = 0; col < op.cols; col += scaleColumns(dtype)) {
    const second = scaleColumns(dtype) == 16 && (col & 16) != 0;
    const header = w;
    const values = w + (hasMin(dtype) ? 64 : 32);
    const end = values + <usize>scaleColumns(dtype) * 8;
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero;
    let b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    for (w = values; w < end; w += 64) {
      let w0 = v128.load(w), w1 = v128.load(w, 16);
      let u: v128;
      u = v128.load32_splat(p0, 16);
      a0 = dot(u, w0, a0);
      b0 = dot(u, w1, b0);
      u = v128.load32_splat(p1, 16);
      a1 = dot(u, w0, a1);
      b1 = dot(u, w1, b1);
      u = v128.load32_splat(p2, 16);
      a2 = dot(u, w0, a2);
      b2 = dot(u, w1, b2);
      u = v128.load32_splat(p3, 16);
      a3 = dot(u, w0, a3);
      b3 = dot(u, w1, b3);
      w0 = v128.load(w, 32);
      w1 = v128.load(w, 48);
      u = v128.load32_splat(p0, 20);
      a0 = dot(u, w0, a0);
      b0 = dot(u, w1, b0);
      u = v128.load32_splat(p1, 20);
      a1 = dot(u, w0, a1);
      b1 = dot(u, w1, b1);
      u = v128.load32_splat(p2, 20);
      a2 = dot(u, w0, a2);
      b2 = dot(u, w1, b2);
      u = v128.load32_splat(p3, 20);
      a3 = dot(u, w0, a3);
      b3 = dot(u, w1, b3);
      p0 += 8;
      p1 += 8;
      p2 += 8;
      p3 += 8;
    }
    if (form == SPLIT) {
      a0 = i32x4.shl(a0, 8);
      b0 = i32x4.shl(b0, 8);
      p0 += toLow;
      a1 = i32x4.shl(a1, 8);
      b1 = i32x4.shl(b1, 8);
      p1 += toLow;
      a2 = i32x4.shl(a2, 8);
      b2 = i32x4.shl(b2, 8);
      p2 += toLow;
      a3 = i32x4.shl(a3, 8);
      b3 = i32x4.shl(b3, 8);
      p3 += toLow;
      for (w = values; w < end; w += 64) {
        let w0 = v128.load(w), w1 = v128.load(w, 16);
        let u: v128;
        u = v128.load32_splat(p0, 16);
        a0 = dot(u, w0, a0);
        b0 = dot(u, w1, b0);
        u = v128.load32_splat(p1, 16);
        a1 = dot(u, w0, a1);
        b1 = dot(u, w1, b1);
        u = v128.load32_splat(p2, 16);
        a2 = dot(u, w0, a2);
        b2 = dot(u, w1, b2);
        u = v128.load32_splat(p3, 16);
        a3 = dot(u, w0, a3);
        b3 = dot(u, w1, b3);
        w0 = v128.load(w, 32);
        w1 = v128.load(w, 48);
        u = v128.load32_splat(p0, 20);
        a0 = dot(u, w0, a0);
        b0 = dot(u, w1, b0);
        u = v128.load32_splat(p1, 20);
        a1 = dot(u, w0, a1);
        b1 = dot(u, w1, b1);
        u = v128.load32_splat(p2, 20);
        a2 = dot(u, w0, a2);
        b2 = dot(u, w1, b2);
        u = v128.load32_splat(p3, 20);
        a3 = dot(u, w0, a3);
        b3 = dot(u, w1, b3);
        p0 += 8;
        p1 += 8;
        p2 += 8;
        p3 += 8;
      }
    }
    // x's header is that many bytes before the pointers.
    const back: usize = (form == SPLIT ? 32 : 0) + (scaleColumns(dtype) == 16 && !second ? 16 : 32);
    const c = v128.load(header), d = v128.load(header, 16);
    let u: v128, s: v128;
    u = correction(dtype, p0 - back, second ? 1 : 0);
    s = v128.load32_splat(p0 - back);
    y0 = madd(f32x4.convert_i32x4_s(i32x4.add(a0, u)), f32x4.mul(c, s), y0);
    z0 = madd(f32x4.convert_i32x4_s(i32x4.add(b0, u)), f32x4.mul(d, s), z0);
    u = correction(dtype, p1 - back, second ? 1 : 0);
    s = v128.load32_splat(p1 - back);
    y1 = madd(f32x4.convert_i32x4_s(i32x4.add(a1, u)), f32x4.mul(c, s), y1);
    z1 = madd(f32x4.convert_i32x4_s(i32x4.add(b1, u)), f32x4.mul(d, s), z1);
    u = correction(dtype, p2 - back, second ? 1 : 0);
    s = v128.load32_splat(p2 - back);
    y2 = madd(f32x4.convert_i32x4_s(i32x4.add(a2, u)), f32x4.mul(c, s), y2);
    z2 = madd(f32x4.convert_i32x4_s(i32x4.add(b2, u)), f32x4.mul(d, s), z2);
    u = correction(dtype, p3 - back, second ? 1 : 0);
    s = v128.load32_splat(p3 - back);
    y3 = madd(f32x4.convert_i32x4_s(i32x4.add(a3, u)), f32x4.mul(c, s), y3);
    z3 = madd(f32x4.convert_i32x4_s(i32x4.add(b3, u)), f32x4.mul(d, s), z3);
    if (hasMin(dtype)) {
      const e = v128.load(header, 32), f = v128.load(header, 48);
      s = v128.load32_splat(p0 - back, X_NEGATIVE_SUM);
      y0 = madd(e, s, y0);
      z0 = madd(f, s, z0);
      s = v128.load32_splat(p1 - back, X_NEGATIVE_SUM);
      y1 = madd(e, s, y1);
      z1 = madd(f, s, z1);
      s = v128.load32_splat(p2 - back, X_NEGATIVE_SUM);
      y2 = madd(e, s, y2);
      z2 = madd(f, s, z2);
      s = v128.load32_splat(p3 - back, X_NEGATIVE_SUM);
      y3 = madd(e, s, y3);
      z3 = madd(f, s, z3);
    }
    const next: i32 = scaleColumns(dtype) == 32 || second ? 16 : form == SPLIT ? -32 : 0;
    p0 += next;
    p1 += next;
    p2 += next;
    p3 += next;
  }
  if (done == 0) finish(op, row, output, y0, z0);
  if (done < 2) finish(op, row + 1, output, y1, z1);
  if (done < 3) finish(op, row + 2, output, y2, z2);
  finish(op, row + 3, output, y3, z3);
}

/** The same; x is WORDS. */
export function rowsOfWords(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  switch (op.dtype) {
    case Q8_0: wordsQ8(op, tile, x, rowBytes, row, done, output); break;
    case Q4_0: wordsQ4(op, tile, x, rowBytes, row, done, output); break;
    case Q4_K:
    case Q5_K: wordsQ4K(op, tile, x, rowBytes, row, done, output); break;
    case Q6_K: wordsQ6K(op, tile, x, rowBytes, row, done, output); break;
    default: unreachable();
  }
}

export function wordsQ8(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  wordsOf(Q8_0, op, tile, x, rowBytes, row, done, output);
}

export function wordsQ4(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  wordsOf(Q4_0, op, tile, x, rowBytes, row, done, output);
}

export function wordsQ4K(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  wordsOf(Q4_K, op, tile, x, rowBytes, row, done, output);
}

export function wordsQ6K(op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  wordsOf(Q6_K, op, tile, x, rowBytes, row, done, output);
}

/** Two rows of x at once: sums of pairs of columns need twice the registers. */
@inline
function wordsOf(dtype: i32, op: Linear, tile: usize, x: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  if (done < 2) twoRowsOf(dtype, op, tile, x, rowBytes, row, done, output);
  twoRowsOf(dtype, op, tile, x + 2 * rowBytes, rowBytes, row + 2, done - 2, output);
}

@inline
function twoRowsOf(dtype: i32, op: Linear, w: usize, p0: usize, rowBytes: usize, row: i32, done: i32, output: i32): void {
  const zero = i32x4.splat(0);
  let p1 = p0 + rowBytes;
  let y0 = zero, y1 = zero, z0 = zero, z1 = zero;
  for (let col = 0; col < op.cols; col += scaleColumns(dtype)) {
    const second = scaleColumns(dtype) == 16 && (col & 16) != 0;
    const header = w;
    w += hasMin(dtype) ? 64 : 32;
    // A lane is two columns of a row: a and b rows 0 and 1, 2 and 3, c and d the others.
    let a0 = zero, a1 = zero, b0 = zero, b1 = zero, c0 = zero, c1 = zero, d0 = zero, d1 = zero;
    for (const end = w + <usize>scaleColumns(dtype) * 8; w < end; w += 32) {
      const u = v128.load64_splat(p0, 16), v = v128.load64_splat(p1, 16);
      let q = v128.load8x8_s(w);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(q, u));
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(q, v));
      q = v128.load8x8_s(w, 8);
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(q, u));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(q, v));
      q = v128.load8x8_s(w, 16);
      c0 = i32x4.add(c0, i32x4.dot_i16x8_s(q, u));
      c1 = i32x4.add(c1, i32x4.dot_i16x8_s(q, v));
      q = v128.load8x8_s(w, 24);
      d0 = i32x4.add(d0, i32x4.dot_i16x8_s(q, u));
      d1 = i32x4.add(d1, i32x4.dot_i16x8_s(q, v));
      p0 += 8;
      p1 += 8;
    }
    // x's header, of which the pointers are now 64 or 32 bytes behind.
    const back: usize = scaleColumns(dtype) == 16 && !second ? 32 : 64;
    const f = v128.load(header), g = v128.load(header, 16);
    let s = v128.load32_splat(p0 - back), c = correction(dtype, p0 - back, second ? 1 : 0);
    y0 = madd(paired(a0, b0, c), f32x4.mul(f, s), y0);
    z0 = madd(paired(c0, d0, c), f32x4.mul(g, s), z0);
    s = v128.load32_splat(p1 - back);
    c = correction(dtype, p1 - back, second ? 1 : 0);
    y1 = madd(paired(a1, b1, c), f32x4.mul(f, s), y1);
    z1 = madd(paired(c1, d1, c), f32x4.mul(g, s), z1);
    if (hasMin(dtype)) {
      const lows = v128.load(header, 32), highs = v128.load(header, 48);
      s = v128.load32_splat(p0 - back, X_NEGATIVE_SUM);
      y0 = madd(lows, s, y0);
      z0 = madd(highs, s, z0);
      s = v128.load32_splat(p1 - back, X_NEGATIVE_SUM);
      y1 = madd(lows, s, y1);
      z1 = madd(highs, s, z1);
    }
    if (scaleColumns(dtype) == 32 || second) {
      p0 += 16;
      p1 += 16;
    }
  }
  if (done <= 0) finish(op, row, output, y0, z0);
  finish(op, row + 1, output, y1, z1);
}
