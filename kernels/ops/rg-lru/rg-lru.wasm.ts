import { sigmoid } from "../../wasm/activate.wasm";
import { exp, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-recurrences.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class RgLru {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  width: i32;
  x: usize;
  xStride: i32;
  recurrenceGate: usize;
  recurrenceGateStride: i32;
  inputGate: usize;
  inputGateStride: i32;
  logDecay: usize;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
  positions: usize;
}

/** Channels of one piece of work: a cache line. */
@inline const BLOCK: i32 = 16;

/** Channels are independent: threads share them, and each walks its tokens in order. */
export function rgLru(instruction: usize): void {
  const op = changetype<RgLru>(instruction);
  const blocks = (op.width + BLOCK - 1) / BLOCK;
  const total = op.batch * blocks;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const from = (item % blocks) * BLOCK;
      const to = min(from + BLOCK, op.width);
      for (let channel = from; channel < to; channel += 4) fourChannels(op, item / blocks, channel, to - channel);
    }
  }
}

/** All tokens of four channels, or of the `count` < 4 that are left. */
function fourChannels(op: RgLru, b: i32, channel: i32, count: i32): void {
  const at = <usize>channel << 2;
  const state = op.state + (<usize>b * op.stateStride << 2) + at;
  const logDecay = loadSome(op.logDecay + at, count);
  const row = <usize>b * op.length;
  let x = op.x + (row * op.xStride << 2) + at;
  let r = op.recurrenceGate + (row * op.recurrenceGateStride << 2) + at;
  let i = op.inputGate + (row * op.inputGateStride << 2) + at;
  let y = op.y + (row * op.yStride << 2) + at;
  let h = loadSome(state, count);
  const position = load<i32>(op.positions + (<usize>b << 2));
  for (let t = 0; t < op.length; t++) {
    const gated = f32x4.mul(sigmoid(loadSome(i, count)), loadSome(x, count));
    if (position + t == 0) h = gated;
    else {
      const logA = f32x4.mul(logDecay, sigmoid(loadSome(r, count)));
      h = madd(exp(logA), h, f32x4.mul(f32x4.sqrt(oneLessExp(f32x4.mul(logA, f32x4.splat(-2)))), gated));
    }
    storeSome(y, h, count);
    x += <usize>op.xStride << 2;
    r += <usize>op.recurrenceGateStride << 2;
    i += <usize>op.inputGateStride << 2;
    y += <usize>op.yStride << 2;
  }
  storeSome(state, h, count);
}

/** 1 − e^−u for u ≥ 0: its series where the difference would cancel. */
@inline
function oneLessExp(u: v128): v128 {
  const one = f32x4.splat(1);
  let p = madd(u, f32x4.splat(-1.0 / 6.0), one);
  p = madd(f32x4.mul(u, f32x4.splat(-1.0 / 5.0)), p, one);
  p = madd(f32x4.mul(u, f32x4.splat(-1.0 / 4.0)), p, one);
  p = madd(f32x4.mul(u, f32x4.splat(-1.0 / 3.0)), p, one);
  p = madd(f32x4.mul(u, f32x4.splat(-1.0 / 2.0)), p, one);
  const near = f32x4.mul(u, p);
  const far = f32x4.sub(one, exp(f32x4.neg(u)));
  return v128.bitselect(near, far, f32x4.lt(u, f32x4.splat(0.25)));
}
