import { madd, silu, silu1 } from "../../wasm/math.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

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

/** Channels of one piece of work: a cache line of x. */
@inline const BLOCK: i32 = 16;

export function causalConv1d(instruction: usize): void {
  const op = changetype<CausalConv1d>(instruction);
  const blocks = (op.channels + BLOCK - 1) / BLOCK;
  const total = op.batch * blocks;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const b = item / blocks;
      const from = (item % blocks) * BLOCK;
      const to = min(from + BLOCK, op.channels);
      let channel = from;
      if (op.taps == 4) for (; channel + 4 <= to; channel += 4) fourTaps(op, b, channel);
      for (; channel < to; channel++) anyTaps(op, b, channel);
    }
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
