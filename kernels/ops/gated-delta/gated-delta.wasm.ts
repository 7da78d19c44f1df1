import { sigmoid } from "../../wasm/activate.wasm";
import { exp, horizontalSum, madd, softplus } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-gated-delta.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class GatedDelta {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  nKeyHead: i32;
  nValueHead: i32;
  headDimK: i32;
  headDimV: i32;
  tiled: i32;
  /** 1: dtRaw has a column for each channel of the keys; 0: one for each head. */
  perChannel: i32;
  /** Columns of a memory in one piece of work, a multiple of 16. */
  slice: i32;
  betaScale: f32;
  scale: f32;
  q: usize;
  qStride: i32;
  k: usize;
  kStride: i32;
  v: usize;
  vStride: i32;
  dt: usize;
  dtStride: i32;
  dtBias: usize;
  A: usize;
  beta: usize;
  betaStride: i32;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
}

/**
 * The columns of S are independent of each other, so threads share heads and slices of columns, and every token is walked in
 * order: the same arithmetic for decode and for any cut of a prompt. A token reads the slice twice and writes it once:
 * what S answers to k and to q first, then the correction.
 */
export function gatedDelta(instruction: usize): void {
  const op = changetype<GatedDelta>(instruction);
  const slices = (op.headDimV + op.slice - 1) / op.slice;
  const perSequence = op.nValueHead * slices;
  const total = op.batch * perSequence;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const b = item / perSequence;
      const head = (item % perSequence) / slices;
      const from = (item % slices) * op.slice;
      for (let t = 0; t < op.length; t++) oneToken(op, b, b * op.length + t, head, from, min(from + op.slice, op.headDimV));
    }
  }
}

/** One token of one head, columns `from` … `to` − 1 of its memory. */
function oneToken(op: GatedDelta, b: i32, row: usize, head: i32, from: i32, to: i32): void {
  const keyHead = op.tiled != 0 ? head % op.nKeyHead : head / (op.nValueHead / op.nKeyHead);
  const key = op.k + (row * op.kStride + <usize>keyHead * op.headDimK << 2);
  const query = op.q + (row * op.qStride + <usize>keyHead * op.headDimK << 2);
  // α, α k and α q: S is multiplied by α in passing.
  const width = <usize>(op.headDimK + 3 & ~3) << 2;
  const decay = scratch();
  const decayedKey = decay + width;
  const decayedQuery = decayedKey + width;
  const qk = prepare(op, row, head, key, query, decay, decayedKey, decayedQuery);
  const beta = f32x4.mul(f32x4.splat(op.betaScale), sigmoid(v128.load32_splat(op.beta + (row * op.betaStride + head << 2))));
  const stride = <usize>op.headDimV << 2;
  let S = op.state + (<usize>b * op.stateStride + <usize>head * op.headDimK * op.headDimV + from << 2);
  let v = op.v + (row * op.vStride + <usize>head * op.headDimV + from << 2);
  let y = op.y + (row * op.yStride + <usize>head * op.headDimV + from << 2);
  let left = to - from;
  for (; left >= 16; left -= 16) {
    sixteen(S, stride, op.headDimK, decay, decayedKey, decayedQuery, key, v, beta, qk, y);
    S += 64;
    v += 64;
    y += 64;
  }
  for (; left > 0; left -= 4) {
    some(S, stride, op.headDimK, decay, decayedKey, decayedQuery, key, v, beta, qk, y, left);
    S += 16;
    v += 16;
    y += 16;
  }
}

/** Fills the three tables of a token and head, the query's with `scale` in it; returns scale q · k in all lanes. */
function prepare(
  op: GatedDelta, row: usize, head: i32, key: usize, query: usize, decay: usize, decayedKey: usize, decayedQuery: usize,
): v128 {
  const A = v128.load32_splat(op.A + (<usize>head << 2));
  const scale = f32x4.splat(op.scale);
  let column: usize = head;
  if (op.perChannel != 0) column *= op.headDimK;
  const dt = op.dt + (row * op.dtStride + column << 2);
  const bias = op.dtBias + (column << 2);
  let alpha = decayOf(v128.load32_splat(dt), v128.load32_splat(bias), A);
  let sum = f32x4.splat(0);
  for (let i = 0; i < op.headDimK; i += 4) {
    const at = <usize>i << 2;
    const left = op.headDimK - i;
    if (op.perChannel != 0) alpha = decayOf(loadSome(dt + at, left), loadSome(bias + at, left), A);
    const k = loadSome(key + at, left);
    const q = f32x4.mul(scale, loadSome(query + at, left));
    sum = madd(k, q, sum);
    v128.store(decay + at, alpha);
    v128.store(decayedKey + at, f32x4.mul(alpha, k));
    v128.store(decayedQuery + at, f32x4.mul(alpha, q));
  }
  return f32x4.splat(horizontalSum(sum));
}

/** exp(A softplus(dt + bias)) */
@inline
function decayOf(dt: v128, bias: v128, A: v128): v128 {
  return exp(f32x4.mul(A, softplus(f32x4.add(dt, bias))));
}

/** 16 columns: held = Sᵀ α k; δ = β (v − held); y = Sᵀ α q + (q · k) δ; S = α S + k δ. */
function sixteen(
  S: usize, stride: usize, count: i32, decay: usize, decayedKey: usize, decayedQuery: usize, key: usize,
  v: usize, beta: v128, qk: v128, y: usize,
): void {
  let h0 = f32x4.splat(0);
  let h1 = h0, h2 = h0, h3 = h0, y0 = h0, y1 = h0, y2 = h0, y3 = h0;
  let at = S;
  for (let i = 0; i < count; i++) {
    const k = v128.load32_splat(decayedKey + (<usize>i << 2));
    const q = v128.load32_splat(decayedQuery + (<usize>i << 2));
    let s = v128.load(at);
    h0 = madd(s, k, h0);
    y0 = madd(s, q, y0);
    s = v128.load(at, 16);
    h1 = madd(s, k, h1);
    y1 = madd(s, q, y1);
    s = v128.load(at, 32);
    h2 = madd(s, k, h2);
    y2 = madd(s, q, y2);
    s = v128.load(at, 48);
    h3 = madd(s, k, h3);
    y3 = madd(s, q, y3);
    at += stride;
  }
  const d0 = f32x4.mul(beta, f32x4.sub(v128.load(v), h0));
  const d1 = f32x4.mul(beta, f32x4.sub(v128.load(v, 16), h1));
  const d2 = f32x4.mul(beta, f32x4.sub(v128.load(v, 32), h2));
  const d3 = f32x4.mul(beta, f32x4.sub(v128.load(v, 48), h3));
  v128.store(y, madd(qk, d0, y0));
  v128.store(y, madd(qk, d1, y1), 16);
  v128.store(y, madd(qk, d2, y2), 32);
  v128.store(y, madd(qk, d3, y3), 48);
  at = S;
  for (let i = 0; i < count; i++) {
    const alpha = v128.load32_splat(decay + (<usize>i << 2));
    const k = v128.load32_splat(key + (<usize>i << 2));
    v128.store(at, madd(k, d0, f32x4.mul(alpha, v128.load(at))));
    v128.store(at, madd(k, d1, f32x4.mul(alpha, v128.load(at, 16))), 16);
    v128.store(at, madd(k, d2, f32x4.mul(alpha, v128.load(at, 32))), 32);
    v128.store(at, madd(k, d3, f32x4.mul(alpha, v128.load(at, 48))), 48);
    at += stride;
  }
}

/** The same for the next four columns, or the `left` < 4 that there are. */
function some(
  S: usize, stride: usize, count: i32, decay: usize, decayedKey: usize, decayedQuery: usize, key: usize,
  v: usize, beta: v128, qk: v128, y: usize, left: i32,
): void {
  let held = f32x4.splat(0), answer = held;
  let at = S;
  for (let i = 0; i < count; i++) {
    const s = loadSome(at, left);
    held = madd(s, v128.load32_splat(decayedKey + (<usize>i << 2)), held);
    answer = madd(s, v128.load32_splat(decayedQuery + (<usize>i << 2)), answer);
    at += stride;
  }
  const delta = f32x4.mul(beta, f32x4.sub(loadSome(v, left), held));
  storeSome(y, madd(qk, delta, answer), left);
  at = S;
  for (let i = 0; i < count; i++) {
    const alpha = v128.load32_splat(decay + (<usize>i << 2));
    const k = v128.load32_splat(key + (<usize>i << 2));
    storeSome(at, madd(k, delta, f32x4.mul(alpha, loadSome(at, left))), left);
    at += stride;
  }
}
