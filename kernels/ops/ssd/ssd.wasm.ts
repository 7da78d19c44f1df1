import { exp1, horizontalSums, madd, silu1, softplus1 } from "../../wasm/math.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
export class Ssd {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  heads: i32;
  headDim: i32;
  dState: i32;
  nGroup: i32;
  /** Q, a multiple of 8. */
  chunk: i32;
  /** Channels of a head that one piece of work takes: a divisor of the padded head size. */
  slice: i32;
  dtSoftplus: i32;
  dtMin: f32;
  dtMax: f32;
  x: usize;
  xStride: i32;
  dt: usize;
  dtStride: i32;
  dtBias: usize;
  A: usize;
  B: usize;
  BStride: i32;
  C: usize;
  CStride: i32;
  D: usize;
  z: usize;
  zStride: i32;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
  /** What ssd-chunks.wasm.ts shares between the heads of a group. */
  shared: usize;
}

@inline
function timeStep(op: Ssd, row: usize, head: i32): f32 {
  let dt = load<f32>(op.dt + ((row * op.dtStride + head) << 2));
  if (op.dtBias != 0) dt += load<f32>(op.dtBias + (<usize>head << 2));
  if (op.dtSoftplus != 0) dt = softplus1(dt);
  return max<f32>(op.dtMin, min<f32>(op.dtMax, dt));
}

@inline
export function groupOf(op: Ssd, head: i32): i32 {
  return head / (op.heads / op.nGroup);
}

/** Slices that a thread takes at once, at most: some microseconds, of a batch too. */
@inline const STEPS_AT_ONCE: i32 = 8;

/** h = exp(dt A) h + dt x ⊗ B and y = h C in one pass over the state. */
export function ssdStep(instruction: usize): void {
  const op = changetype<Ssd>(instruction);
  const slices = (op.headDim + op.slice - 1) / op.slice;
  const total = op.batch * op.heads * slices;
  const grain = min(grainOf(total, 4), STEPS_AT_ONCE);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const from = (item % slices) * op.slice;
      const head = (item / slices) % op.heads;
      stepSlice(op, item / slices / op.heads, head, from, min(from + op.slice, op.headDim));
    }
  }
}

function stepSlice(op: Ssd, b: i32, head: i32, from: i32, to: i32): void {
  const stateBytes = <usize>op.dState << 2;
  const row = <usize>b;
  const group = <usize>groupOf(op, head) * op.dState;
  const B = op.B + ((row * op.BStride + group) << 2);
  const C = op.C + ((row * op.CStride + group) << 2);
  const dt = timeStep(op, row, head);
  const decay = exp1(dt * load<f32>(op.A + (<usize>head << 2)));
  const D: f32 = op.D != 0 ? load<f32>(op.D + (<usize>head << 2)) : 0;
  const channels = <usize>head * op.headDim;
  const state = op.state + ((row * op.stateStride + channels * op.dState) << 2);
  let p = from;
  for (; p + 4 <= to; p += 4) {
    const x = v128.load(op.x + ((row * op.xStride + channels + p) << 2));
    let y = stepFour(state + <usize>p * stateBytes, B, C, op.dState, f32x4.splat(decay), f32x4.mul(x, f32x4.splat(dt)));
    y = madd(x, f32x4.splat(D), y);
    v128.store(op.y + ((row * op.yStride + channels + p) << 2), y);
  }
  for (; p < to; p++) {
    const x = load<f32>(op.x + ((row * op.xStride + channels + p) << 2));
    const y = stepOne(state + <usize>p * stateBytes, B, C, op.dState, decay, dt * x) + D * x;
    store<f32>(op.y + ((row * op.yStride + channels + p) << 2), y);
  }
  if (op.z != 0) gate(op, row, channels, from, to);
}

/** Four rows of the state; lane i of u is dt x of row i. Returns the four sums h · C. */
function stepFour(h: usize, B: usize, C: usize, dState: i32, decay: v128, u: v128): v128 {
  const stateBytes = <usize>dState << 2;
  const u0 = v128.shuffle<f32>(u, u, 0, 0, 0, 0), u1 = v128.shuffle<f32>(u, u, 1, 1, 1, 1);
  const u2 = v128.shuffle<f32>(u, u, 2, 2, 2, 2), u3 = v128.shuffle<f32>(u, u, 3, 3, 3, 3);
  let h0 = h, h1 = h + stateBytes, h2 = h1 + stateBytes, h3 = h2 + stateBytes;
  let y0 = f32x4.splat(0);
  let y1 = y0, y2 = y0, y3 = y0;
  let n = 0;
  for (; n + 4 <= dState; n += 4) {
    const Bn = v128.load(B), Cn = v128.load(C);
    let next = madd(v128.load(h0), decay, f32x4.mul(u0, Bn));
    v128.store(h0, next);
    y0 = madd(next, Cn, y0);
    next = madd(v128.load(h1), decay, f32x4.mul(u1, Bn));
    v128.store(h1, next);
    y1 = madd(next, Cn, y1);
    next = madd(v128.load(h2), decay, f32x4.mul(u2, Bn));
    v128.store(h2, next);
    y2 = madd(next, Cn, y2);
    next = madd(v128.load(h3), decay, f32x4.mul(u3, Bn));
    v128.store(h3, next);
    y3 = madd(next, Cn, y3);
    B += 16;
    C += 16;
    h0 += 16;
    h1 += 16;
    h2 += 16;
    h3 += 16;
  }
  let y = horizontalSums(y0, y1, y2, y3);
  const decay1 = f32x4.extract_lane(decay, 0);
  for (; n < dState; n++) {
    const Bn = load<f32>(B), Cn = load<f32>(C);
    const n0 = decay1 * load<f32>(h0) + f32x4.extract_lane(u0, 0) * Bn;
    const n1 = decay1 * load<f32>(h1) + f32x4.extract_lane(u1, 0) * Bn;
    const n2 = decay1 * load<f32>(h2) + f32x4.extract_lane(u2, 0) * Bn;
    const n3 = decay1 * load<f32>(h3) + f32x4.extract_lane(u3, 0) * Bn;
    store<f32>(h0, n0);
    store<f32>(h1, n1);
    store<f32>(h2, n2);
    store<f32>(h3, n3);
    y = f32x4.add(y, f32x4(n0 * Cn, n1 * Cn, n2 * Cn, n3 * Cn));
    B += 4;
    C += 4;
    h0 += 4;
    h1 += 4;
    h2 += 4;
    h3 += 4;
  }
  return y;
}

function stepOne(h: usize, B: usize, C: usize, dState: i32, decay: f32, u: f32): f32 {
  let y: f32 = 0;
  for (let n: usize = 0; n < <usize>dState << 2; n += 4) {
    const next = decay * load<f32>(h + n) + u * load<f32>(B + n);
    store<f32>(h + n, next);
    y += next * load<f32>(C + n);
  }
  return y;
}

function gate(op: Ssd, row: usize, channels: usize, from: i32, to: i32): void {
  for (let p = from; p < to; p++) {
    const y = op.y + ((row * op.yStride + channels + p) << 2);
    store<f32>(y, load<f32>(y) * silu1(load<f32>(op.z + ((row * op.zStride + channels + p) << 2))));
  }
}
