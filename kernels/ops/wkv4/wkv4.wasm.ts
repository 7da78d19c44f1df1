import { exp, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-rwkv.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Wkv4 {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  channels: i32;
  k: usize;
  kStride: i32;
  v: usize;
  vStride: i32;
  decay: usize;
  bonus: usize;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
}

/** Channels of one piece of work: a cache line of k. */
@inline const BLOCK: i32 = 16;
/** Stands for an exponent of −∞: its exponential is 0, and differences of it stay finite. */
@inline const NOTHING: f32 = -1e38;

/** Channels are independent: threads share them, four at a time, and every token is walked in order. */
export function wkv4(instruction: usize): void {
  const op = changetype<Wkv4>(instruction);
  const blocks = (op.channels + BLOCK - 1) / BLOCK;
  const total = op.batch * blocks;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const from = (item % blocks) * BLOCK;
      const to = min(from + BLOCK, op.channels);
      for (let channel = from; channel < to; channel += 4) fourChannels(op, item / blocks, channel, to - channel);
    }
  }
}

/** Four channels, or the `count` < 4 that are left. */
function fourChannels(op: Wkv4, b: i32, channel: i32, count: i32): void {
  const at = <usize>channel << 2;
  const row = <usize>b * op.length;
  const decay = loadSome(op.decay + at, count);
  const bonus = loadSome(op.bonus + at, count);
  const bytes = <usize>op.channels << 2;
  const state = op.state + (<usize>b * op.stateStride << 2) + at;
  let numerator = loadSome(state, count);
  let denominator = loadSome(state + bytes, count);
  // Before the first token there is no exponent.
  const fresh = f32x4.eq(denominator, f32x4.splat(0));
  let p = v128.bitselect(f32x4.splat(NOTHING), loadSome(state + 2 * bytes, count), fresh);
  let k = op.k + (row * op.kStride << 2) + at;
  let v = op.v + (row * op.vStride << 2) + at;
  let y = op.y + (row * op.yStride << 2) + at;
  for (let t = 0; t < op.length; t++) {
    const key = loadSome(k, count), value = loadSome(v, count);
    const now = f32x4.add(bonus, key);
    const q = f32x4.max(p, now);
    const past = exp(f32x4.sub(p, q)), present = exp(f32x4.sub(now, q));
    const above = madd(past, numerator, f32x4.mul(present, value));
    const below = madd(past, denominator, present);
    storeSome(y, f32x4.div(above, below), count);

    const decayed = f32x4.add(p, decay);
    p = f32x4.max(decayed, key);
    const kept = exp(f32x4.sub(decayed, p)), added = exp(f32x4.sub(key, p));
    numerator = madd(kept, numerator, f32x4.mul(added, value));
    denominator = madd(kept, denominator, added);
    k += <usize>op.kStride << 2;
    v += <usize>op.vStride << 2;
    y += <usize>op.yStride << 2;
  }
  storeSome(state, numerator, count);
  storeSome(state + bytes, denominator, count);
  storeSome(state + 2 * bytes, p, count);
}
