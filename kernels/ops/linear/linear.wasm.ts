import { madd } from "../../wasm/math.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";
import {
  BF16, expandGroup, F32, GROUP, groupBytes, highBf16, highF16, lowBf16, lowF16, Q8_0, Q8_GROUP_BYTES, Q8_SCALES,
} from "./packed.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Linear {
  opcode: i32;
  bytes: i32;
  /** Rows of x and y. */
  rows: i32;
  /** Columns of x, K. */
  cols: i32;
  /** Columns of y, R. */
  outputs: i32;
  dtype: i32;
  x: usize;
  xStride: i32;
  weight: usize;
  bias: usize;
  residual: usize;
  residualStride: i32;
  y: usize;
  yStride: i32;
  /** Room for x in 16 bits if the threads share that work, 0 if each does all of it. */
  quantized: usize;
}

/** Rows of x that are multiplied with one group of weights before the next: they stay in the second-level cache. */
@inline const PANEL: i32 = 128;

export function linear(instruction: usize): void {
  const op = changetype<Linear>(instruction);
  if (op.dtype == Q8_0) linearQ8(op);
  else linearFloat(op);
}

// ---- q8_0: int8 weights times int16 activations -------------------------------------------------------------------
//
// x is rounded to 16 bits in blocks of 32 (32767 steps to each side, so finer than f16), and i32x4.dot_i16x8_s adds two
// products a lane: 32 · 128 · 32767 still fits 32 bits. On x64 without VNNI the relaxed int8 dot product takes as many
// cycles, gives 7 bits of x, and differs between CPUs.

function linearQ8(op: Linear): void {
  const blocks = op.cols >> 5;
  const rowBytes = quantizedRowBytes(op.cols);
  let quantized = op.quantized;
  if (quantized == 0) {
    quantized = scratch();
    for (let row = 0; row < op.rows; row++) {
      quantizeRow(op.x + (<usize>row * op.xStride << 2), blocks, quantized + <usize>row * rowBytes);
    }
  }
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const panels = (op.rows + PANEL - 1) / PANEL;
  const total = groups * panels;
  const grain = grainOf(total, 8);
  const size = groupBytes(Q8_0, op.cols);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const group = item % groups;
      const weight = op.weight + <usize>group * size;
      let row = (item / groups) * PANEL;
      const to = min(row + PANEL, op.rows);
      for (; row + 4 <= to; row += 4) fourRowsQ8(op, weight, blocks, quantized + <usize>row * rowBytes, rowBytes, row, group * GROUP);
      for (; row < to; row++) oneRowQ8(op, weight, blocks, quantized + <usize>row * rowBytes, row, group * GROUP);
    }
  }
}

/** Rounds the rows of x for a following `linear`; an instruction of its own where x is worth sharing. */
export function quantize(instruction: usize): void {
  const op = changetype<Linear>(instruction);
  const grain = grainOf(op.rows, 4);
  const rowBytes = quantizedRowBytes(op.cols);
  for (let first = take(grain); first < op.rows; first = take(grain)) {
    const end = min(first + grain, op.rows);
    for (let row = first; row < end; row++) {
      quantizeRow(op.x + (<usize>row * op.xStride << 2), op.cols >> 5, op.quantized + <usize>row * rowBytes);
    }
  }
}

/** The scales of a row's blocks, then its values. */
@inline
function quantizedRowBytes(cols: i32): usize {
  return (<usize>(cols >> 5) << 2) + (<usize>cols << 1);
}

function quantizeRow(x: usize, blocks: i32, to: usize): void {
  let values = to + (<usize>blocks << 2);
  // 1.5 · 2^23: its sum with a small value holds that value, rounded, in the low bits.
  const magic = f32x4.splat(12582912);
  const magicBits = i32x4.splat(0x4b400000);
  for (let block = 0; block < blocks; block++) {
    // max and not pmax: a NaN must come out as a NaN.
    let most = f32x4.abs(v128.load(x));
    for (let at: usize = 16; at < 128; at += 16) most = f32x4.max(most, f32x4.abs(v128.load(x + at)));
    most = f32x4.max(most, v128.shuffle<f32>(most, most, 2, 3, 0, 1));
    most = f32x4.max(most, v128.shuffle<f32>(most, most, 1, 0, 3, 2));
    const largest = f32x4.extract_lane(most, 0);
    store<f32>(to, largest / 32767);
    // Below 1e-30 the inverse could overflow; such a block is as good as zero.
    const inverse = f32x4.splat(largest < 1e-30 ? 0 : 32767 / largest);
    for (let at: usize = 0; at < 128; at += 32) {
      const a = i32x4.sub(madd(v128.load(x + at), inverse, magic), magicBits);
      const b = i32x4.sub(madd(v128.load(x + at, 16), inverse, magic), magicBits);
      v128.store(values + (at >> 1), i16x8.narrow_i32x4_s(a, b));
    }
    to += 4;
    x += 128;
    values += 64;
  }
}

/** 8 outputs of 4 rows. One iteration multiplies two columns; sums stay in integers for a block, then become f32. */
function fourRowsQ8(op: Linear, weight: usize, blocks: i32, x: usize, rowBytes: usize, row: i32, output: i32): void {
  const zero = i32x4.splat(0);
  const zeroF = f32x4.splat(0);
  let s0 = x, s1 = x + rowBytes, s2 = s1 + rowBytes, s3 = s2 + rowBytes;
  const scaleBytes = <usize>blocks << 2;
  let p0 = s0 + scaleBytes, p1 = s1 + scaleBytes, p2 = s2 + scaleBytes, p3 = s3 + scaleBytes;
  let y0 = zeroF, y1 = zeroF, y2 = zeroF, y3 = zeroF, z0 = zeroF, z1 = zeroF, z2 = zeroF, z3 = zeroF;
  for (let block = 0; block < blocks; block++) {
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    let w = weight + Q8_SCALES;
    const end = w + 256;
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
    s0 += 4;
    s1 += 4;
    s2 += 4;
    s3 += 4;
    weight += Q8_GROUP_BYTES;
  }
  finish(op, row, output, y0, z0);
  finish(op, row + 1, output, y1, z1);
  finish(op, row + 2, output, y2, z2);
  finish(op, row + 3, output, y3, z3);
}

/** 8 outputs of one row: decode. The same sums in the same order as with four rows. */
function oneRowQ8(op: Linear, weight: usize, blocks: i32, x: usize, row: i32, output: i32): void {
  const zero = i32x4.splat(0);
  let y = f32x4.splat(0), z = y;
  let p = x + (<usize>blocks << 2);
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

// ---- f32, f16, bf16: f32 products -----------------------------------------------------------------------------------

function linearFloat(op: Linear): void {
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const grain = grainOf(groups, 8);
  const size = groupBytes(op.dtype, op.cols);
  for (let first = take(grain); first < groups; first = take(grain)) {
    const end = min(first + grain, groups);
    for (let group = first; group < end; group++) {
      let weight = op.weight + <usize>group * size;
      if (op.dtype != F32 && op.rows == 1) {
        oneRowNarrow(op, weight, group * GROUP);
        continue;
      }
      if (op.dtype != F32) {
        expandGroup(weight, op.dtype, op.cols, scratch());
        weight = scratch();
      }
      let row = 0;
      for (; row + 4 <= op.rows; row += 4) fourRows(op, weight, row, group * GROUP);
      for (; row < op.rows; row++) oneRow(op, weight, row, group * GROUP);
    }
  }
}

/** 8 outputs of 4 rows. */
function fourRows(op: Linear, weight: usize, row: i32, output: i32): void {
  const stride = <usize>op.xStride << 2;
  let p0 = op.x + <usize>row * stride;
  let p1 = p0 + stride, p2 = p1 + stride, p3 = p2 + stride;
  let a0 = f32x4.splat(0);
  let a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  for (const end = p0 + (<usize>op.cols << 2); p0 < end; p0 += 4) {
    const low = v128.load(weight), high = v128.load(weight, 16);
    let u = v128.load32_splat(p0);
    a0 = madd(low, u, a0);
    b0 = madd(high, u, b0);
    u = v128.load32_splat(p1);
    a1 = madd(low, u, a1);
    b1 = madd(high, u, b1);
    u = v128.load32_splat(p2);
    a2 = madd(low, u, a2);
    b2 = madd(high, u, b2);
    u = v128.load32_splat(p3);
    a3 = madd(low, u, a3);
    b3 = madd(high, u, b3);
    p1 += 4;
    p2 += 4;
    p3 += 4;
    weight += 32;
  }
  finish(op, row, output, a0, b0);
  finish(op, row + 1, output, a1, b1);
  finish(op, row + 2, output, a2, b2);
  finish(op, row + 3, output, a3, b3);
}

/** 8 outputs of one row; four columns at once hide the latency of the multiply-adds. */
function oneRow(op: Linear, weight: usize, row: i32, output: i32): void {
  let p = op.x + (<usize>row * op.xStride << 2);
  let a0 = f32x4.splat(0);
  let a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let k = 0;
  for (; k + 4 <= op.cols; k += 4) {
    let u = v128.load32_splat(p);
    a0 = madd(v128.load(weight), u, a0);
    b0 = madd(v128.load(weight, 16), u, b0);
    u = v128.load32_splat(p, 4);
    a1 = madd(v128.load(weight, 32), u, a1);
    b1 = madd(v128.load(weight, 48), u, b1);
    u = v128.load32_splat(p, 8);
    a2 = madd(v128.load(weight, 64), u, a2);
    b2 = madd(v128.load(weight, 80), u, b2);
    u = v128.load32_splat(p, 12);
    a3 = madd(v128.load(weight, 96), u, a3);
    b3 = madd(v128.load(weight, 112), u, b3);
    p += 16;
    weight += 128;
  }
  for (; k < op.cols; k++) {
    const u = v128.load32_splat(p);
    a0 = madd(v128.load(weight), u, a0);
    b0 = madd(v128.load(weight, 16), u, b0);
    p += 4;
    weight += 32;
  }
  finish(op, row, output, f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)), f32x4.add(f32x4.add(b0, b1), f32x4.add(b2, b3)));
}

/** 8 outputs of the only row, from f16 or bf16 as they lie: decode reads each weight once. */
function oneRowNarrow(op: Linear, weight: usize, output: i32): void {
  let p = op.x;
  let a0 = f32x4.splat(0);
  let a1 = a0, b0 = a0, b1 = a0;
  let k = 0;
  if (op.dtype == BF16) {
    for (; k + 2 <= op.cols; k += 2) {
      let bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowBf16(bits), u, a0);
      b0 = madd(highBf16(bits), u, b0);
      bits = v128.load(weight, 16);
      u = v128.load32_splat(p, 4);
      a1 = madd(lowBf16(bits), u, a1);
      b1 = madd(highBf16(bits), u, b1);
      p += 8;
      weight += 32;
    }
    if (k < op.cols) {
      const bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowBf16(bits), u, a0);
      b0 = madd(highBf16(bits), u, b0);
    }
  } else {
    for (; k + 2 <= op.cols; k += 2) {
      let bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowF16(bits), u, a0);
      b0 = madd(highF16(bits), u, b0);
      bits = v128.load(weight, 16);
      u = v128.load32_splat(p, 4);
      a1 = madd(lowF16(bits), u, a1);
      b1 = madd(highF16(bits), u, b1);
      p += 8;
      weight += 32;
    }
    if (k < op.cols) {
      const bits = v128.load(weight), u = v128.load32_splat(p);
      a0 = madd(lowF16(bits), u, a0);
      b0 = madd(highF16(bits), u, b0);
    }
  }
  finish(op, 0, output, f32x4.add(a0, a1), f32x4.add(b0, b1));
}

/** Writes 8 outputs of a row (fewer in the last group) with bias and residual. */
function finish(op: Linear, row: i32, output: i32, low: v128, high: v128): void {
  const at = <usize>output << 2;
  const y = op.y + (<usize>row * op.yStride << 2) + at;
  const bias = op.bias + at;
  const residual = op.residual + (<usize>row * op.residualStride << 2) + at;
  if (output + GROUP <= op.outputs) {
    if (op.bias != 0) {
      low = f32x4.add(low, v128.load(bias));
      high = f32x4.add(high, v128.load(bias, 16));
    }
    if (op.residual != 0) {
      low = f32x4.add(low, v128.load(residual));
      high = f32x4.add(high, v128.load(residual, 16));
    }
    v128.store(y, low);
    v128.store(y, high, 16);
    return;
  }
  for (let i = 0; i < op.outputs - output; i++) {
    let value = f32x4.extract_lane(low, 0);
    low = v128.shuffle<f32>(low, high, 1, 2, 3, 4);
    high = v128.shuffle<f32>(high, high, 1, 2, 3, 3);
    if (op.bias != 0) value += load<f32>(bias + (<usize>i << 2));
    if (op.residual != 0) value += load<f32>(residual + (<usize>i << 2));
    store<f32>(y + (<usize>i << 2), value);
  }
}
