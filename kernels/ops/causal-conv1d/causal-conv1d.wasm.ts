import { madd, silu, silu1 } from "../../wasm/math.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class CausalConv1d {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  channels: i32;
  taps: i32;
  x: usize;
  xStride: i32;
  weight: usize;
  bias: usize;
  state: usize;
  stateStride: i32;
  silu: i32;
  y: usize;
  yStride: i32;
}

/** Channels of one piece of work, a multiple of 4; encode.ts reserves scratch memory for seven rows of them. */
@inline const BLOCK: i32 = 64;
/** Tokens from which rows are walked in whole pieces; fewer are not worth the tables. */
@inline const MANY: i32 = 8;

export function causalConv1d(instruction: usize): void {
  const op = changetype<CausalConv1d>(instruction);
  const blocks = (op.channels + BLOCK - 1) / BLOCK;
  const total = op.batch * blocks;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const b = item / blocks;
      let channel = (item % blocks) * BLOCK;
      const to = min(channel + BLOCK, op.channels);
      if (op.taps == 4) {
        const whole = channel + (to - channel & ~3);
        if (op.length >= MANY) rowsOfFourTaps(op, b, channel, whole);
        else for (let four = channel; four < whole; four += 4) fourTaps(op, b, four);
        channel = whole;
      }
      for (; channel < to; channel++) anyTaps(op, b, channel);
    }
  }
}

/**
 * Four taps again, row after row: a whole stretch of each row while it is near, where `fourTaps` would fetch a row's cache
 * line once for every four of its channels. The last three inputs are rows of x, at first of a table of the state.
 */
function rowsOfFourTaps(op: CausalConv1d, b: i32, from: i32, to: i32): void {
  const bytes = <usize>(to - from) << 2;
  const w0 = scratch(), w1 = w0 + bytes, w2 = w1 + bytes, w3 = w2 + bytes;
  let oldest = w3 + bytes, older = oldest + bytes, old = older + bytes;
  const state = op.state + ((<usize>b * op.stateStride + from * 3) << 2);
  const weight = op.weight + (<usize>from << 4);
  for (let c: usize = 0; c < bytes; c += 4) {
    store<f32>(w0 + c, load<f32>(weight + (c << 2)));
    store<f32>(w1 + c, load<f32>(weight + (c << 2), 4));
    store<f32>(w2 + c, load<f32>(weight + (c << 2), 8));
    store<f32>(w3 + c, load<f32>(weight + (c << 2), 12));
    store<f32>(oldest + c, load<f32>(state + c * 3));
    store<f32>(older + c, load<f32>(state + c * 3, 4));
    store<f32>(old + c, load<f32>(state + c * 3, 8));
  }
  const xBytes = <usize>op.xStride << 2, yBytes = <usize>op.yStride << 2;
  let x = op.x + ((<usize>b * op.length * op.xStride + from) << 2);
  let y = op.y + ((<usize>b * op.length * op.yStride + from) << 2);
  const bias = op.bias + (<usize>from << 2);
  const hasBias = op.bias != 0, hasSilu = op.silu != 0;
  for (let t = 0; t < op.length; t++) {
    for (let c: usize = 0; c < bytes; c += 16) {
      let sum = hasBias ? v128.load(bias + c) : f32x4.splat(0);
      sum = madd(v128.load(w0 + c), v128.load(oldest + c), sum);
      sum = madd(v128.load(w1 + c), v128.load(older + c), sum);
      sum = madd(v128.load(w2 + c), v128.load(old + c), sum);
      sum = madd(v128.load(w3 + c), v128.load(x + c), sum);
      v128.store(y + c, hasSilu ? silu(sum) : sum);
    }
    oldest = older;
    older = old;
    old = x;
    x += xBytes;
    y += yBytes;
  }
  for (let c: usize = 0; c < bytes; c += 4) {
    store<f32>(state + c * 3, load<f32>(oldest + c));
    store<f32>(state + c * 3, load<f32>(older + c), 4);
    store<f32>(state + c * 3, load<f32>(old + c), 8);
  }
}

/** Four channels, four taps (every published Mamba): weights and the last three inputs stay in registers. */
function fourTaps(op: CausalConv1d, b: i32, channel: i32): void {
  let x = op.x + ((<usize>b * op.length * op.xStride + channel) << 2);
  let y = op.y + ((<usize>b * op.length * op.yStride + channel) << 2);
  const state = op.state + ((<usize>b * op.stateStride + channel * 3) << 2);
  // Rows are channels here; a 4 × 4 transpose makes one vector a tap.
  const weight = op.weight + (<usize>channel << 4);
  const r0 = v128.load(weight), r1 = v128.load(weight, 16), r2 = v128.load(weight, 32), r3 = v128.load(weight, 48);
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  const w0 = v128.shuffle<f32>(t0, t2, 0, 1, 4, 5), w1 = v128.shuffle<f32>(t0, t2, 2, 3, 6, 7);
  const w2 = v128.shuffle<f32>(t1, t3, 0, 1, 4, 5), w3 = v128.shuffle<f32>(t1, t3, 2, 3, 6, 7);
  const bias = op.bias != 0 ? v128.load(op.bias + (<usize>channel << 2)) : f32x4.splat(0);
  let oldest = gather(state), older = gather(state + 4), old = gather(state + 8);
  for (let t = 0; t < op.length; t++) {
    const now = v128.load(x);
    let sum = madd(w0, oldest, bias);
    sum = madd(w1, older, sum);
    sum = madd(w2, old, sum);
    sum = madd(w3, now, sum);
    v128.store(y, op.silu != 0 ? silu(sum) : sum);
    oldest = older;
    older = old;
    old = now;
    x += <usize>op.xStride << 2;
    y += <usize>op.yStride << 2;
  }
  scatter(state, oldest);
  scatter(state + 4, older);
  scatter(state + 8, old);
}

@inline
function gather(p: usize): v128 {
  return f32x4(load<f32>(p), load<f32>(p, 12), load<f32>(p, 24), load<f32>(p, 36));
}

@inline
function scatter(p: usize, v: v128): void {
  store<f32>(p, f32x4.extract_lane(v, 0));
  store<f32>(p, f32x4.extract_lane(v, 1), 12);
  store<f32>(p, f32x4.extract_lane(v, 2), 24);
  store<f32>(p, f32x4.extract_lane(v, 3), 36);
}

function anyTaps(op: CausalConv1d, b: i32, channel: i32): void {
  const held = op.taps - 1;
  const state = op.state + ((<usize>b * op.stateStride + channel * held) << 2);
  const weight = op.weight + (<usize>channel * op.taps << 2);
  for (let t = 0; t < op.length; t++) {
    const row = <usize>b * op.length + t;
    const now = load<f32>(op.x + ((row * op.xStride + channel) << 2));
    let sum: f32 = op.bias != 0 ? load<f32>(op.bias + (<usize>channel << 2)) : 0;
    for (let k = 0; k < held; k++) {
      sum += load<f32>(weight + (<usize>k << 2)) * load<f32>(state + (<usize>k << 2));
    }
    sum += load<f32>(weight + (<usize>held << 2)) * now;
    for (let k = 1; k < held; k++) store<f32>(state + (<usize>(k - 1) << 2), load<f32>(state + (<usize>k << 2)));
    if (held > 0) store<f32>(state + (<usize>(held - 1) << 2), now);
    store<f32>(op.y + ((row * op.yStride + channel) << 2), op.silu != 0 ? silu1(sum) : sum);
  }
}
