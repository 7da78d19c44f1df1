import { exp1, horizontalSum, madd, softplus1 } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of both instructions, as encode-recurrences.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Mlstm {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  heads: i32;
  headDimK: i32;
  headDimV: i32;
  eps: f32;
  q: usize;
  qStride: i32;
  k: usize;
  kStride: i32;
  v: usize;
  vStride: i32;
  inputGate: usize;
  inputGateStride: i32;
  forgetGate: usize;
  forgetGateStride: i32;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
  /** (B * T, heads, 4): f, i, and what a sum over C is multiplied by; the fourth is not used. */
  gates: usize;
}

/** Columns of v in one piece of work: of C a cache line a row. */
@inline const SLICE: i32 = 16;

/** Where the state of a head begins: C (headDimK, headDimV), n (headDimK), m. */
@inline
function headState(op: Mlstm, b: i32, head: i32): usize {
  const size = op.headDimK * (op.headDimV + 1) + 1;
  return op.state + (<usize>b * op.stateStride + <usize>head * size << 2);
}

@inline
function gatesOf(op: Mlstm, row: usize, head: i32): usize {
  return op.gates + (row * op.heads + head << 4);
}

/** m, f, i, n and the divisors of all tokens: a head is one piece of work. */
export function mlstmGates(instruction: usize): void {
  const op = changetype<Mlstm>(instruction);
  const total = op.batch * op.heads;
  for (let item = take(1); item < total; item = take(1)) oneHead(op, item / op.heads, item % op.heads);
}

function oneHead(op: Mlstm, b: i32, head: i32): void {
  const n = headState(op, b, head) + (<usize>op.headDimK * op.headDimV << 2);
  const kept = n + (<usize>op.headDimK << 2);
  const scale = <f32>(1.0 / Math.sqrt(<f64>op.headDimK));
  let m = load<f32>(kept);
  for (let t = 0; t < op.length; t++) {
    const row = <usize>b * op.length + t;
    const logI = load<f32>(op.inputGate + (row * op.inputGateStride + head << 2));
    const logF = -softplus1(-load<f32>(op.forgetGate + (row * op.forgetGateStride + head << 2)));
    const largest = max(logF + m, logI);
    const f = exp1(logF + m - largest);
    const i = exp1(logI - largest);
    m = largest;
    const from = <usize>head * op.headDimK << 2;
    const dot = normaliser(op, n, op.q + (row * op.qStride << 2) + from, op.k + (row * op.kStride << 2) + from, f, i);
    const gates = gatesOf(op, row, head);
    store<f32>(gates, f);
    store<f32>(gates, i, 4);
    store<f32>(gates, scale / (max(abs(dot * scale), exp1(-m)) + op.eps), 8);
  }
  store<f32>(kept, m);
}

/** n = f n + i k; returns n · q. */
function normaliser(op: Mlstm, n: usize, q: usize, k: usize, f: f32, i: f32): f32 {
  const fs = f32x4.splat(f), is = f32x4.splat(i);
  let sums = f32x4.splat(0);
  for (let r = 0; r < op.headDimK; r += 4) {
    const at = <usize>r << 2;
    const left = op.headDimK - r;
    const next = madd(fs, loadSome(n + at, left), f32x4.mul(is, loadSome(k + at, left)));
    storeSome(n + at, next, left);
    sums = madd(next, loadSome(q + at, left), sums);
  }
  return horizontalSum(sums);
}

/** C and y, from the gates that mlstmGates left. Columns of v are independent: threads share them. */
export function mlstmMemory(instruction: usize): void {
  const op = changetype<Mlstm>(instruction);
  const slices = (op.headDimV + SLICE - 1) / SLICE;
  const total = op.batch * op.heads * slices;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const head = item / slices;
      const from = (item % slices) * SLICE;
      oneSlice(op, head / op.heads, head % op.heads, from, min(SLICE, op.headDimV - from));
    }
  }
}

function oneSlice(op: Mlstm, b: i32, head: i32, from: i32, count: i32): void {
  const C = headState(op, b, head) + (<usize>from << 2);
  const keys = <usize>head * op.headDimK << 2;
  const values = <usize>head * op.headDimV + from << 2;
  for (let t = 0; t < op.length; t++) {
    const row = <usize>b * op.length + t;
    const q = op.q + (row * op.qStride << 2) + keys;
    const k = op.k + (row * op.kStride << 2) + keys;
    const v = op.v + (row * op.vStride << 2) + values;
    const y = op.y + (row * op.yStride << 2) + values;
    const gates = gatesOf(op, row, head);
    if (count == SLICE) sixteenColumns(op, C, q, k, v, y, gates);
    else {
      for (let c = 0; c < count; c += 4) {
        const at = <usize>c << 2;
        fourColumns(op, C + at, q, k, v + at, y + at, gates, count - c);
      }
    }
  }
}

function sixteenColumns(op: Mlstm, C: usize, q: usize, k: usize, v: usize, y: usize, gates: usize): void {
  const f = v128.load32_splat(gates);
  const i = load<f32>(gates, 4);
  const v0 = v128.load(v), v1 = v128.load(v, 16), v2 = v128.load(v, 32), v3 = v128.load(v, 48);
  let y0 = f32x4.splat(0);
  let y1 = y0, y2 = y0, y3 = y0;
  for (const end = k + (<usize>op.headDimK << 2); k < end; k += 4) {
    const key = f32x4.splat(i * load<f32>(k));
    const query = v128.load32_splat(q);
    const c0 = madd(f, v128.load(C), f32x4.mul(key, v0));
    const c1 = madd(f, v128.load(C, 16), f32x4.mul(key, v1));
    const c2 = madd(f, v128.load(C, 32), f32x4.mul(key, v2));
    const c3 = madd(f, v128.load(C, 48), f32x4.mul(key, v3));
    v128.store(C, c0);
    v128.store(C, c1, 16);
    v128.store(C, c2, 32);
    v128.store(C, c3, 48);
    y0 = madd(query, c0, y0);
    y1 = madd(query, c1, y1);
    y2 = madd(query, c2, y2);
    y3 = madd(query, c3, y3);
    C += <usize>op.headDimV << 2;
    q += 4;
  }
  const scale = v128.load32_splat(gates, 8);
  v128.store(y, f32x4.mul(y0, scale));
  v128.store(y, f32x4.mul(y1, scale), 16);
  v128.store(y, f32x4.mul(y2, scale), 32);
  v128.store(y, f32x4.mul(y3, scale), 48);
}

/** Four columns, or the `count` < 4 that are left. */
function fourColumns(op: Mlstm, C: usize, q: usize, k: usize, v: usize, y: usize, gates: usize, count: i32): void {
  const f = v128.load32_splat(gates);
  const i = load<f32>(gates, 4);
  const value = loadSome(v, count);
  let sums = f32x4.splat(0);
  for (const end = k + (<usize>op.headDimK << 2); k < end; k += 4) {
    const next = madd(f, loadSome(C, count), f32x4.mul(f32x4.splat(i * load<f32>(k)), value));
    storeSome(C, next, count);
    sums = madd(v128.load32_splat(q), next, sums);
    C += <usize>op.headDimV << 2;
    q += 4;
  }
  storeSome(y, f32x4.mul(sums, v128.load32_splat(gates, 8)), count);
}
