// Integer weights times int16 activations.
//
// x is rounded to 16 bits in blocks of 32 (see rounded.wasm.ts), and i32x4.dot_i16x8_s adds two products a lane:
// 32 · 128 · 32767 still fits 32 bits. On x64 without VNNI the relaxed int8 dot product takes as many cycles, gives 7
// bits of x, and differs between CPUs. Sums stay in integers for a block, then become f32; where values have a minimum it
// is multiplied with the block's sum of x. Nibbles are unpacked as one row needs them, for more rows once into int8.
import { madd } from "../../wasm/math.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";
import {
  blockBytes, expandTile, fieldsOf, fourBytes, fourF16, hasMin, headerBytes, headerColumns, offsetOf, pairOf, Q4_0, Q4_K, Q5_K,
  Q6_K, scaleOf, tileBlockBytes, tileColumns,
} from "./bit-fields.wasm";
import { finish, Linear } from "./operands.wasm";
import { GROUP, groupBytes, Q8_0, Q8_GROUP_BYTES, Q8_SCALES } from "./packed.wasm";
import { roundedRowBytes, roundRow, sumsAt, valuesAt } from "./rounded.wasm";

/** Rows of x that are multiplied with one group of weights before the next: they stay in the second-level cache. */
@inline const PANEL: i32 = 128;

export function linearRounded(op: Linear): void {
  const blocks = op.cols >> 5;
  const rowBytes = roundedRowBytes(op.cols);
  let rounded = op.quantized;
  let tile = scratch();
  if (rounded == 0) {
    rounded = tile;
    tile += <usize>op.rows * rowBytes;
    for (let row = 0; row < op.rows; row++) roundRow(op.x + (<usize>row * op.xStride << 2), blocks, rounded + <usize>row * rowBytes);
  }
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const panels = (op.rows + PANEL - 1) / PANEL;
  const total = groups * panels;
  const grain = grainOf(total, 8);
  const size = groupBytes(op.dtype, op.cols);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const group = item % groups;
      const weight = op.weight + <usize>group * size;
      let row = (item / groups) * PANEL;
      const to = min(row + PANEL, op.rows);
      let unpacked = weight;
      if (op.dtype != Q8_0 && row + 4 <= to) {
        expandTile(weight, op.dtype, op.cols, tile);
        unpacked = tile;
      }
      for (; row + 4 <= to; row += 4) fourRows(op, unpacked, rounded + <usize>row * rowBytes, rowBytes, row, group * GROUP);
      for (; row < to; row++) oneRow(op, weight, rounded + <usize>row * rowBytes, row, group * GROUP);
    }
  }
}

/** Rounds the rows of x for a following `linear`; an instruction of its own where x is worth sharing. */
export function quantize(instruction: usize): void {
  const op = changetype<Linear>(instruction);
  const grain = grainOf(op.rows, 4);
  const rowBytes = roundedRowBytes(op.cols);
  for (let first = take(grain); first < op.rows; first = take(grain)) {
    const end = min(first + grain, op.rows);
    for (let row = first; row < end; row++) {
      roundRow(op.x + (<usize>row * op.xStride << 2), op.cols >> 5, op.quantized + <usize>row * rowBytes);
    }
  }
}

function fourRows(op: Linear, weight: usize, x: usize, rowBytes: usize, row: i32, output: i32): void {
  switch (op.dtype) {
    case Q8_0:
    case Q4_0: fourRowsOf(Q4_0, op, weight, x, rowBytes, row, output); break;
    case Q4_K:
    case Q5_K: fourRowsOf(Q4_K, op, weight, x, rowBytes, row, output); break;
    case Q6_K: fourRowsOf(Q6_K, op, weight, x, rowBytes, row, output); break;
    default: unreachable();
  }
}

function oneRow(op: Linear, weight: usize, x: usize, row: i32, output: i32): void {
  switch (op.dtype) {
    case Q8_0: oneRowQ8(op, weight, x, row, output); break;
    case Q4_0: oneRowOf(Q4_0, op, weight, x, row, output); break;
    case Q4_K: oneRowOf(Q4_K, op, weight, x, row, output); break;
    case Q5_K: oneRowOf(Q5_K, op, weight, x, row, output); break;
    case Q6_K: oneRowOf(Q6_K, op, weight, x, row, output); break;
    default: unreachable();
  }
}

/** 8 outputs of 4 rows, from a tile (see expandTile). One iteration multiplies four columns. */
@inline
function fourRowsOf(dtype: i32, op: Linear, weight: usize, x: usize, rowBytes: usize, row: i32, output: i32): void {
  const zero = i32x4.splat(0);
  const zeroF = f32x4.splat(0);
  const blocks = op.cols >> 5;
  const values: usize = hasMin(dtype) ? 64 : 32;
  let s0 = x, s1 = x + rowBytes, s2 = s1 + rowBytes, s3 = s2 + rowBytes;
  let p0 = valuesAt(s0, blocks), p1 = valuesAt(s1, blocks), p2 = valuesAt(s2, blocks), p3 = valuesAt(s3, blocks);
  let m = sumsAt(x, blocks);
  let y0 = zeroF, y1 = zeroF, y2 = zeroF, y3 = zeroF, z0 = zeroF, z1 = zeroF, z2 = zeroF, z3 = zeroF;
  for (let col = 0; col < op.cols; col += tileColumns(dtype)) {
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    let w = weight + values;
    const end = weight + tileBlockBytes(dtype);
    for (; w < end; w += 32) {
      let low = v128.load8x8_s(w), high = v128.load8x8_s(w, 8);
      let u = v128.load32_splat(p0);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(low, u));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(high, u));
      u = v128.load32_splat(p1);
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(low, u));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(high, u));
      u = v128.load32_splat(p2);
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(low, u));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(high, u));
      u = v128.load32_splat(p3);
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(low, u));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(high, u));
      low = v128.load8x8_s(w, 16);
      high = v128.load8x8_s(w, 24);
      u = v128.load32_splat(p0, 4);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(low, u));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(high, u));
      u = v128.load32_splat(p1, 4);
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(low, u));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(high, u));
      u = v128.load32_splat(p2, 4);
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(low, u));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(high, u));
      u = v128.load32_splat(p3, 4);
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(low, u));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(high, u));
      p0 += 8;
      p1 += 8;
      p2 += 8;
      p3 += 8;
    }
    const c = v128.load(weight), d = v128.load(weight, 16);
    let s = v128.load32_splat(s0);
    y0 = madd(f32x4.convert_i32x4_s(a0), f32x4.mul(c, s), y0);
    z0 = madd(f32x4.convert_i32x4_s(b0), f32x4.mul(d, s), z0);
    s = v128.load32_splat(s1);
    y1 = madd(f32x4.convert_i32x4_s(a1), f32x4.mul(c, s), y1);
    z1 = madd(f32x4.convert_i32x4_s(b1), f32x4.mul(d, s), z1);
    s = v128.load32_splat(s2);
    y2 = madd(f32x4.convert_i32x4_s(a2), f32x4.mul(c, s), y2);
    z2 = madd(f32x4.convert_i32x4_s(b2), f32x4.mul(d, s), z2);
    s = v128.load32_splat(s3);
    y3 = madd(f32x4.convert_i32x4_s(a3), f32x4.mul(c, s), y3);
    z3 = madd(f32x4.convert_i32x4_s(b3), f32x4.mul(d, s), z3);
    if (hasMin(dtype)) {
      const e = v128.load(weight, 32), f = v128.load(weight, 48);
      s = negativeSum(s0, m);
      y0 = madd(e, s, y0);
      z0 = madd(f, s, z0);
      s = negativeSum(s1, m + rowBytes);
      y1 = madd(e, s, y1);
      z1 = madd(f, s, z1);
      s = negativeSum(s2, m + 2 * rowBytes);
      y2 = madd(e, s, y2);
      z2 = madd(f, s, z2);
      s = negativeSum(s3, m + 3 * rowBytes);
      y3 = madd(e, s, y3);
      z3 = madd(f, s, z3);
      m += 8;
    }
    // Two blocks of 16 columns share a scale of x.
    if (tileColumns(dtype) == 32 || (col & 16) != 0) {
      s0 += 4;
      s1 += 4;
      s2 += 4;
      s3 += 4;
    }
    weight += tileBlockBytes(dtype);
  }
  finish(op, row, output, y0, z0);
  finish(op, row + 1, output, y1, z1);
  finish(op, row + 2, output, y2, z2);
  finish(op, row + 3, output, y3, z3);
}

/** −Σ x of a block in all lanes, from its scale and the sums of its halves. */
@inline
function negativeSum(scale: usize, sums: usize): v128 {
  return f32x4.splat(-load<f32>(scale) * <f32>(load<i32>(sums) + load<i32>(sums, 4)));
}

/** 8 outputs of one row: decode. The same sums in the same order as with four rows. */
function oneRowQ8(op: Linear, weight: usize, x: usize, row: i32, output: i32): void {
  const zero = i32x4.splat(0);
  const blocks = op.cols >> 5;
  let y = f32x4.splat(0), z = y;
  let p = valuesAt(x, blocks);
  for (let block = 0; block < blocks; block++) {
    let a = zero, b = zero;
    let w = weight + Q8_SCALES;
    const end = w + 256;
    for (; w < end; w += 64) {
      let u = v128.load32_splat(p);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load8x8_s(w), u));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load8x8_s(w, 8), u));
      u = v128.load32_splat(p, 4);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load8x8_s(w, 16), u));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load8x8_s(w, 24), u));
      u = v128.load32_splat(p, 8);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load8x8_s(w, 32), u));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load8x8_s(w, 40), u));
      u = v128.load32_splat(p, 12);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load8x8_s(w, 48), u));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load8x8_s(w, 56), u));
      p += 16;
    }
    const s = v128.load32_splat(x);
    y = madd(f32x4.convert_i32x4_s(a), f32x4.mul(v128.load(weight), s), y);
    z = madd(f32x4.convert_i32x4_s(b), f32x4.mul(v128.load(weight, 16), s), z);
    x += 4;
    weight += Q8_GROUP_BYTES;
  }
  finish(op, row, output, y, z);
}

/** 8 outputs of one row, from fields as they lie. */
@inline
function oneRowOf(dtype: i32, op: Linear, weight: usize, x: usize, row: i32, output: i32): void {
  const zero = f32x4.splat(0);
  const blocks = op.cols >> 5;
  let y = zero, z = zero;
  let m = sumsAt(x, blocks);
  let p = valuesAt(x, blocks);
  for (let col = 0; col < op.cols; col += headerColumns(dtype)) {
    const header = weight;
    const c = fourF16(header), d = fourF16(header + 8);
    const e = hasMin(dtype) ? fourF16(header + 16) : zero, f = hasMin(dtype) ? fourF16(header + 24) : zero;
    weight += headerBytes(dtype);
    for (const end = weight + <usize>(headerColumns(dtype) >> 5) * blockBytes(dtype); weight < end; weight += blockBytes(dtype)) {
      const s = v128.load32_splat(x);
      // Σ (q − offset) x = Σ q x − offset Σ x
      let a = i32x4.splat(-offsetOf(dtype) * (tileColumns(dtype) == 16 ? load<i32>(m) : load<i32>(m) + load<i32>(m, 4)));
      let b = a;
      a = addHalf(dtype, 0, a, weight, p);
      b = addHalf(dtype, 0, b, weight + 16, p);
      if (tileColumns(dtype) == 16) {
        y = madd(f32x4.convert_i32x4_s(a), f32x4.mul(scaleOf(dtype, c, weight, 0), s), y);
        z = madd(f32x4.convert_i32x4_s(b), f32x4.mul(scaleOf(dtype, d, weight + 4, 0), s), z);
        a = i32x4.splat(-offsetOf(dtype) * load<i32>(m, 4));
        b = a;
      }
      a = addHalf(dtype, 1, a, weight, p + 32);
      b = addHalf(dtype, 1, b, weight + 16, p + 32);
      y = madd(f32x4.convert_i32x4_s(a), f32x4.mul(scaleOf(dtype, c, weight, 1), s), y);
      z = madd(f32x4.convert_i32x4_s(b), f32x4.mul(scaleOf(dtype, d, weight + 4, 1), s), z);
      if (hasMin(dtype)) {
        const sum = negativeSum(x, m);
        y = madd(f32x4.mul(e, fourBytes(weight + 8)), sum, y);
        z = madd(f32x4.mul(f, fourBytes(weight + 12)), sum, z);
      }
      p += 64;
      m += 8;
      x += 4;
    }
  }
  finish(op, row, output, y, z);
}

/** Adds the products of 16 columns of four rows; `at` is the block, + 16 for rows 4…7. */
@inline
function addHalf(dtype: i32, half: i32, sums: v128, at: usize, p: usize): v128 {
  const a = fieldsOf(dtype, at, half, 0), b = fieldsOf(dtype, at, half, 1), c = fieldsOf(dtype, at, half, 2);
  const d = fieldsOf(dtype, at, half, 3), e = fieldsOf(dtype, at, half, 4);
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 0, a, b, c, d, e), v128.load32_splat(p)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 1, a, b, c, d, e), v128.load32_splat(p, 4)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 2, a, b, c, d, e), v128.load32_splat(p, 8)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 3, a, b, c, d, e), v128.load32_splat(p, 12)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 4, a, b, c, d, e), v128.load32_splat(p, 16)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 5, a, b, c, d, e), v128.load32_splat(p, 20)));
  sums = i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 6, a, b, c, d, e), v128.load32_splat(p, 24)));
  return i32x4.add(sums, i32x4.dot_i16x8_s(pairOf(dtype, half, 7, a, b, c, d, e), v128.load32_splat(p, 28)));
}
