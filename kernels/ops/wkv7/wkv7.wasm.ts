import { horizontalSum, horizontalSums, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-rwkv.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Wkv7 {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  heads: i32;
  keyDim: i32;
  valueDim: i32;
  r: usize;
  rStride: i32;
  w: usize;
  wStride: i32;
  k: usize;
  kStride: i32;
  v: usize;
  vStride: i32;
  kappa: usize;
  kappaStride: i32;
  a: usize;
  aStride: i32;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
}

/** Rows of a head's state in one piece of work: they stay in the first-level cache. */
@inline const BLOCK: i32 = 16;

/** Rows of the state, one a value channel, are independent: threads share them, and every token is walked in order. */
export function wkv7(instruction: usize): void {
  const op = changetype<Wkv7>(instruction);
  const blocks = (op.valueDim + BLOCK - 1) / BLOCK;
  const total = op.batch * op.heads * blocks;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const from = (item % blocks) * BLOCK;
      const to = min(from + BLOCK, op.valueDim);
      const head = (item / blocks) % op.heads;
      const b = item / blocks / op.heads;
      for (let t = 0; t < op.length; t++) {
        const row = <usize>b * op.length + t;
        let value = from;
        for (; value + 4 <= to; value += 4) fourRows(op, b, row, head, value);
        for (; value < to; value++) oneRow(op, b, row, head, value);
      }
    }
  }
}

function fourRows(op: Wkv7, b: i32, row: usize, head: i32, value: i32): void {
  const channel = head * op.valueDim + value;
  const bytes = <usize>op.keyDim << 2;
  const keys = <usize>head * bytes;
  const state = op.state + (<usize>b * op.stateStride << 2) + <usize>channel * bytes;
  const kappa = op.kappa + (row * op.kappaStride << 2) + keys;
  const r = op.r + (row * op.rStride << 2) + keys;
  const w = op.w + (row * op.wStride << 2) + keys;
  const k = op.k + (row * op.kStride << 2) + keys;
  const a = op.a + (row * op.aStride << 2) + keys;
  const s1 = bytes, s2 = bytes * 2, s3 = bytes * 3;
  let d0 = f32x4.splat(0);
  let d1 = d0, d2 = d0, d3 = d0;
  for (let at: usize = 0; at < bytes; at += 16) {
    const count = <i32>(bytes - at >> 2);
    const S = state + at;
    const c = loadSome(kappa + at, count);
    d0 = madd(loadSome(S, count), c, d0);
    d1 = madd(loadSome(S + s1, count), c, d1);
    d2 = madd(loadSome(S + s2, count), c, d2);
    d3 = madd(loadSome(S + s3, count), c, d3);
  }
  const removed = f32x4.neg(horizontalSums(d0, d1, d2, d3));
  const v = v128.load(op.v + ((row * op.vStride + channel) << 2));
  const m0 = v128.shuffle<f32>(removed, removed, 0, 0, 0, 0), m1 = v128.shuffle<f32>(removed, removed, 1, 1, 1, 1);
  const m2 = v128.shuffle<f32>(removed, removed, 2, 2, 2, 2), m3 = v128.shuffle<f32>(removed, removed, 3, 3, 3, 3);
  const v0 = v128.shuffle<f32>(v, v, 0, 0, 0, 0), v1 = v128.shuffle<f32>(v, v, 1, 1, 1, 1);
  const v2 = v128.shuffle<f32>(v, v, 2, 2, 2, 2), v3 = v128.shuffle<f32>(v, v, 3, 3, 3, 3);
  let y0 = f32x4.splat(0);
  let y1 = y0, y2 = y0, y3 = y0;
  for (let at: usize = 0; at < bytes; at += 16) {
    const count = <i32>(bytes - at >> 2);
    const S = state + at;
    const removal = f32x4.mul(loadSome(kappa + at, count), loadSome(a + at, count));
    const kept = loadSome(w + at, count), key = loadSome(k + at, count), read = loadSome(r + at, count);
    let s = madd(v0, key, madd(m0, removal, f32x4.mul(loadSome(S, count), kept)));
    storeSome(S, s, count);
    y0 = madd(s, read, y0);
    s = madd(v1, key, madd(m1, removal, f32x4.mul(loadSome(S + s1, count), kept)));
    storeSome(S + s1, s, count);
    y1 = madd(s, read, y1);
    s = madd(v2, key, madd(m2, removal, f32x4.mul(loadSome(S + s2, count), kept)));
    storeSome(S + s2, s, count);
    y2 = madd(s, read, y2);
    s = madd(v3, key, madd(m3, removal, f32x4.mul(loadSome(S + s3, count), kept)));
    storeSome(S + s3, s, count);
    y3 = madd(s, read, y3);
  }
  v128.store(op.y + ((row * op.yStride + channel) << 2), horizontalSums(y0, y1, y2, y3));
}

function oneRow(op: Wkv7, b: i32, row: usize, head: i32, value: i32): void {
  const channel = head * op.valueDim + value;
  const bytes = <usize>op.keyDim << 2;
  const keys = <usize>head * bytes;
  const state = op.state + (<usize>b * op.stateStride << 2) + <usize>channel * bytes;
  const kappa = op.kappa + (row * op.kappaStride << 2) + keys;
  const r = op.r + (row * op.rStride << 2) + keys;
  const w = op.w + (row * op.wStride << 2) + keys;
  const k = op.k + (row * op.kStride << 2) + keys;
  const a = op.a + (row * op.aStride << 2) + keys;
  let dot = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    const count = <i32>(bytes - at >> 2);
    dot = madd(loadSome(state + at, count), loadSome(kappa + at, count), dot);
  }
  const removed = f32x4.splat(-horizontalSum(dot));
  const v = v128.load32_splat(op.v + ((row * op.vStride + channel) << 2));
  let sum = f32x4.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    const count = <i32>(bytes - at >> 2);
    const removal = f32x4.mul(loadSome(kappa + at, count), loadSome(a + at, count));
    let s = f32x4.mul(loadSome(state + at, count), loadSome(w + at, count));
    s = madd(v, loadSome(k + at, count), madd(removed, removal, s));
    storeSome(state + at, s, count);
    sum = madd(s, loadSome(r + at, count), sum);
  }
  store<f32>(op.y + ((row * op.yStride + channel) << 2), horizontalSum(sum));
}
