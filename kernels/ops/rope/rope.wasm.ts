import { grainOf, scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-attention.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Rope {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  length: i32;
  headDim: i32;
  offset: i32;
  /** rotaryDim / 2 */
  half: i32;
  /** 1: the pairs are (2 i, 2 i + 1); 0: (i, i + half). */
  neighbours: i32;
  scale: f32;
  x: usize;
  xStride: i32;
  frequencies: usize;
  positions: usize;
  y: usize;
  yStride: i32;
}

export function rope(instruction: usize): void {
  const op = changetype<Rope>(instruction);
  const grain = grainOf(op.rows, 4);
  for (let first = take(grain); first < op.rows; first = take(grain)) {
    const end = min(first + grain, op.rows);
    for (let row = first; row < end; row++) {
      const before = load<i32>(op.positions + (<usize>(row / op.length) << 2));
      turns(op, before + row % op.length);
      const x = op.x + (<usize>row * op.xStride << 2), y = op.y + (<usize>row * op.yStride << 2);
      memory.copy(y, x, <usize>op.cols << 2);
      for (let head = op.offset; head < op.cols; head += op.headDim) {
        const at = <usize>head << 2;
        if (op.neighbours != 0) turnNeighbours(op, x + at, y + at);
        else turnHalves(op, x + at, y + at);
      }
    }
  }
}

/** Cosines of a position's angles, then the sines, (half) each, times the scale: into the scratch memory. */
function turns(op: Rope, position: i32): void {
  const cosines = scratch(), sines = cosines + (<usize>op.half << 2);
  const scale = f64x2.splat(<f64>op.scale);
  for (let i = 0; i < op.half; i += 2) {
    const at = <usize>i << 2;
    const isLast = i + 1 == op.half;
    const frequencies = isLast ? v128.load32_zero(op.frequencies + at) : v128.load64_zero(op.frequencies + at);
    // Rounded to f32 first, as the models were trained.
    const product = f64x2.mul(f64x2.splat(<f64>position), f64x2.promote_low_f32x4(frequencies));
    const angle = f64x2.promote_low_f32x4(f32x4.demote_f64x2_zero(product));
    // angle = n π/2 + r, |r| ≤ π/4. The upper part of π/2 has 33 bits: its product with n is exact up to n = 2^20.
    const n = f64x2.nearest(f64x2.mul(angle, f64x2.splat(6.36619772367581382433e-01)));
    let r = f64x2.sub(angle, f64x2.mul(n, f64x2.splat(1.57079632673412561417e+00)));
    r = f64x2.sub(r, f64x2.mul(n, f64x2.splat(6.07710050650619224932e-11)));
    const z = f64x2.mul(r, r);
    // Taylor's series: the next terms are below 1e-9 of the sine and 1e-10.
    let s = f64x2.add(f64x2.mul(z, f64x2.splat(-1.0 / 39916800.0)), f64x2.splat(1.0 / 362880.0));
    s = f64x2.add(f64x2.mul(s, z), f64x2.splat(-1.0 / 5040.0));
    s = f64x2.add(f64x2.mul(s, z), f64x2.splat(1.0 / 120.0));
    s = f64x2.add(f64x2.mul(s, z), f64x2.splat(-1.0 / 6.0));
    s = f64x2.add(f64x2.mul(f64x2.mul(s, z), r), r);
    let c = f64x2.add(f64x2.mul(z, f64x2.splat(1.0 / 479001600.0)), f64x2.splat(-1.0 / 3628800.0));
    c = f64x2.add(f64x2.mul(c, z), f64x2.splat(1.0 / 40320.0));
    c = f64x2.add(f64x2.mul(c, z), f64x2.splat(-1.0 / 720.0));
    c = f64x2.add(f64x2.mul(c, z), f64x2.splat(1.0 / 24.0));
    c = f64x2.add(f64x2.mul(c, z), f64x2.splat(-0.5));
    c = f64x2.add(f64x2.mul(c, z), f64x2.splat(1));
    // Quarter turns: the lowest bit swaps them, the next turns the sine's sign, their sum the cosine's.
    const quarters = i64x2(<i64>f64x2.extract_lane(n, 0), <i64>f64x2.extract_lane(n, 1));
    const swap = i64x2.neg(v128.and(quarters, i64x2.splat(1)));
    const sineSign = i64x2.shl(i64x2.shr_u(quarters, 1), 63);
    const cosineSign = i64x2.shl(i64x2.shr_u(i64x2.add(quarters, i64x2.splat(1)), 1), 63);
    const sine = v128.xor(v128.bitselect(c, s, swap), sineSign);
    const cosine = v128.xor(v128.bitselect(s, c, swap), cosineSign);
    const cosineOut = f32x4.demote_f64x2_zero(f64x2.mul(cosine, scale));
    const sineOut = f32x4.demote_f64x2_zero(f64x2.mul(sine, scale));
    if (isLast) {
      store<f32>(cosines + at, f32x4.extract_lane(cosineOut, 0));
      store<f32>(sines + at, f32x4.extract_lane(sineOut, 0));
    } else {
      v128.store64_lane(cosines + at, cosineOut, 0);
      v128.store64_lane(sines + at, sineOut, 0);
    }
  }
}

function turnHalves(op: Rope, x: usize, y: usize): void {
  const cosines = scratch(), bytes = <usize>op.half << 2, sines = cosines + bytes;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const a = v128.load(x + at), b = v128.load(x + bytes + at);
    const cosine = v128.load(cosines + at), sine = v128.load(sines + at);
    v128.store(y + at, f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine)));
    v128.store(y + bytes + at, f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine)));
  }
  for (; at < bytes; at += 4) turnOne(cosines + at, sines + at, x + at, x + bytes + at, y + at, y + bytes + at);
}

function turnNeighbours(op: Rope, x: usize, y: usize): void {
  const cosines = scratch(), bytes = <usize>op.half << 2, sines = cosines + bytes;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const low = v128.load(x + 2 * at), high = v128.load(x + 2 * at, 16);
    const a = v128.shuffle<f32>(low, high, 0, 2, 4, 6), b = v128.shuffle<f32>(low, high, 1, 3, 5, 7);
    const cosine = v128.load(cosines + at), sine = v128.load(sines + at);
    const u = f32x4.sub(f32x4.mul(a, cosine), f32x4.mul(b, sine));
    const v = f32x4.add(f32x4.mul(b, cosine), f32x4.mul(a, sine));
    v128.store(y + 2 * at, v128.shuffle<f32>(u, v, 0, 4, 1, 5));
    v128.store(y + 2 * at, v128.shuffle<f32>(u, v, 2, 6, 3, 7), 16);
  }
  for (; at < bytes; at += 4) {
    turnOne(cosines + at, sines + at, x + 2 * at, x + 2 * at + 4, y + 2 * at, y + 2 * at + 4);
  }
}

@inline
function turnOne(cosine: usize, sine: usize, a: usize, b: usize, toA: usize, toB: usize): void {
  const u = load<f32>(a), v = load<f32>(b), c = load<f32>(cosine), s = load<f32>(sine);
  store<f32>(toA, u * c - v * s);
  store<f32>(toB, v * c + u * s);
}
