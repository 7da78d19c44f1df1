import { exp, exp1, horizontalSums, madd, silu1, softplus1 } from "../../wasm/math.wasm";
import { accumulate } from "../../wasm/product.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Ssd {
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
  /** (B, chunks, nGroup) matrices C Bᵀ of Q × Q values. */
  scores: usize;
}

@inline
function timeStep(op: Ssd, row: usize, head: i32): f32 {
  let dt = load<f32>(op.dt + ((row * op.dtStride + head) << 2));
  if (op.dtBias != 0) dt += load<f32>(op.dtBias + (<usize>head << 2));
  if (op.dtSoftplus != 0) dt = softplus1(dt);
  return max<f32>(op.dtMin, min<f32>(op.dtMax, dt));
}

@inline
function groupOf(op: Ssd, head: i32): i32 {
  return head / (op.heads / op.nGroup);
}

// ---- one token --------------------------------------------------------------------------------------------------

/** h = exp(dt A) h + dt x ⊗ B and y = h C in one pass over the state. */
export function ssdStep(instruction: usize): void {
  const op = changetype<Ssd>(instruction);
  const slices = (op.headDim + op.slice - 1) / op.slice;
  const total = op.batch * op.heads * slices;
  const grain = grainOf(total, 4);
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

// ---- many tokens, in chunks of Q as matrix products -------------------------------------------------------------

/** scores = C Bᵀ of each chunk: shared by the heads of a group, so an instruction of its own. */
export function ssdScores(instruction: usize): void {
  const op = changetype<Ssd>(instruction);
  const Q = op.chunk;
  const chunks = (op.length + Q - 1) / Q;
  const total = op.batch * chunks * op.nGroup;
  const columns = scratch(); // Bᵀ, (dState, Q)
  const rowBytes = <usize>Q << 2;
  for (let item = take(1); item < total; item = take(1)) {
    const group = item % op.nGroup;
    const start = ((item / op.nGroup) % chunks) * Q;
    const tokens = min(Q, op.length - start);
    const row = <usize>(item / op.nGroup / chunks) * op.length + start;
    const offset = <usize>group * op.dState;
    memory.fill(columns, 0, <usize>op.dState * rowBytes);
    for (let j = 0; j < tokens; j++) {
      const B = op.B + (((row + j) * op.BStride + offset) << 2);
      for (let n = 0; n < op.dState; n++) {
        store<f32>(columns + <usize>n * rowBytes + (<usize>j << 2), load<f32>(B + (<usize>n << 2)));
      }
    }
    const scores = op.scores + <usize>item * Q * rowBytes;
    memory.fill(scores, 0, <usize>tokens * rowBytes);
    const C = op.C + ((row * op.CStride + offset) << 2);
    const CBytes = <usize>op.CStride << 2;
    for (let i = 0; i < tokens; i += 4) {
      // Only what lies on or below the diagonal is read.
      for (let j = 0; j < min(i + 4, tokens); j += 8) {
        accumulate(min(4, tokens - i), C + <usize>i * CBytes, CBytes, 4, columns + (<usize>j << 2), rowBytes, op.dState,
          scores + <usize>i * rowBytes + (<usize>j << 2), rowBytes);
      }
    }
  }
}

/** A head (or a slice of its channels), chunk after chunk. */
export function ssdScan(instruction: usize): void {
  const op = changetype<Ssd>(instruction);
  const slices = (op.headDim + op.slice - 1) / op.slice;
  const total = op.batch * op.heads * slices;
  for (let item = take(1); item < total; item = take(1)) {
    const from = (item % slices) * op.slice;
    const head = (item / slices) % op.heads;
    scanSlice(op, item / slices / op.heads, head, from, min(op.slice, op.headDim - from));
  }
}

function scanSlice(op: Ssd, b: i32, head: i32, from: i32, width: i32): void {
  const Q = op.chunk;
  const N = op.dState;
  // Everything in scratch is (rows, padded width): vectors run over a head's channels.
  const padded = (width + 7) & ~7;
  const rowBytes = <usize>padded << 2;
  const h = scratch(); // hᵀ, (dState, channels)
  const x = h + <usize>N * rowBytes; // (Q, channels)
  const weighted = x + <usize>Q * rowBytes; // x · dt · decay to the chunk's end
  const y = weighted + <usize>Q * rowBytes;
  const mask = y + <usize>Q * rowBytes; // L ∘ (C Bᵀ) · dt, (Q, Q)
  const dt = mask + (<usize>Q * Q << 2);
  const sums = dt + (<usize>Q << 2); // Σ dt A up to and with each token
  const maskBytes = <usize>Q << 2;
  const channels = <usize>head * op.headDim + from;
  const group = groupOf(op, head);
  const offset = <usize>group * N;
  const BBytes = <usize>op.BStride << 2, CBytes = <usize>op.CStride << 2;
  const state = op.state + ((<usize>b * op.stateStride + channels * N) << 2);
  const A = load<f32>(op.A + (<usize>head << 2));
  const D: f32 = op.D != 0 ? load<f32>(op.D + (<usize>head << 2)) : 0;
  memory.fill(h, 0, <usize>N * rowBytes);
  transpose(state, width, N, h, padded);
  const chunks = (op.length + Q - 1) / Q;
  for (let chunk = 0; chunk < chunks; chunk++) {
    const start = chunk * Q;
    const tokens = min(Q, op.length - start);
    const row = <usize>b * op.length + start;
    let sum: f32 = 0;
    for (let t = 0; t < tokens; t++) {
      const step = timeStep(op, row + t, head);
      sum += step * A;
      store<f32>(dt + (<usize>t << 2), step);
      store<f32>(sums + (<usize>t << 2), sum);
    }
    for (let t = tokens; t & 3; t++) {
      store<f32>(dt + (<usize>t << 2), 0);
      store<f32>(sums + (<usize>t << 2), sum);
    }
    const item = (b * chunks + chunk) * op.nGroup + group;
    decayScores(op.scores + <usize>item * Q * maskBytes, tokens, maskBytes, dt, sums, mask);
    loadChannels(op, row, channels, tokens, width, padded, dt, sums, sum, x, weighted);

    memory.fill(y, 0, <usize>tokens * rowBytes);
    const C = op.C + ((row * op.CStride + offset) << 2);
    for (let i = 0; i < tokens; i += 4) {
      const rows = min(4, tokens - i);
      const yi = y + <usize>i * rowBytes;
      for (let p: usize = 0; p < rowBytes; p += 32) {
        accumulate(rows, C + <usize>i * CBytes, CBytes, 4, h + p, rowBytes, N, yi + p, rowBytes);
      }
      for (let r = 0; r < rows; r++) scale(yi + <usize>r * rowBytes, exp1(load<f32>(sums + (<usize>(i + r) << 2))), padded);
      for (let p: usize = 0; p < rowBytes; p += 32) {
        accumulate(rows, mask + <usize>i * maskBytes, maskBytes, 4, x + p, rowBytes, i + rows, yi + p, rowBytes);
      }
    }
    storeChannels(op, row, channels, tokens, width, rowBytes, D, x, y);

    const decay = exp1(sum);
    const B = op.B + ((row * op.BStride + offset) << 2);
    for (let n = 0; n < N; n += 4) {
      const rows = min(4, N - n);
      const hn = h + <usize>n * rowBytes;
      scale(hn, decay, padded * rows);
      for (let p: usize = 0; p < rowBytes; p += 32) {
        accumulate(rows, B + (<usize>n << 2), 4, BBytes, weighted + p, rowBytes, tokens, hn + p, rowBytes);
      }
    }
  }
  transposeBack(h, padded, N, state, width);
}

/** mask[i, j] = exp(sums[i] − sums[j]) · scores[i, j] · dt[j] for j ≤ i, 0 up to the next multiple of four. */
function decayScores(scores: usize, tokens: i32, rowBytes: usize, dt: usize, sums: usize, mask: usize): void {
  const lanes = i32x4(0, 1, 2, 3);
  for (let i = 0; i < tokens; i++) {
    const from = scores + <usize>i * rowBytes;
    const to = mask + <usize>i * rowBytes;
    const sum = v128.load32_splat(sums + (<usize>i << 2));
    const last = i32x4.splat(i);
    for (let j = 0; j <= i; j += 4) {
      const at = <usize>j << 2;
      const decay = exp(f32x4.sub(sum, v128.load(sums + at)));
      const value = f32x4.mul(f32x4.mul(decay, v128.load(dt + at)), v128.load(from + at));
      v128.store(to + at, v128.and(value, i32x4.le_s(i32x4.add(i32x4.splat(j), lanes), last)));
    }
  }
}

function loadChannels(
  op: Ssd, row: usize, channels: usize, tokens: i32, width: i32, padded: i32,
  dt: usize, sums: usize, total: f32, x: usize, weighted: usize,
): void {
  for (let t = 0; t < tokens; t++) {
    const from = op.x + (((row + t) * op.xStride + channels) << 2);
    const factor = exp1(total - load<f32>(sums + (<usize>t << 2))) * load<f32>(dt + (<usize>t << 2));
    for (let p = 0; p < padded; p += 4) {
      const at = <usize>p << 2;
      let v = f32x4.splat(0);
      if (p + 4 <= width) v = v128.load(from + at);
      else for (let lane = 3; lane >= 0; lane--) {
        v = v128.shuffle<f32>(f32x4.splat(p + lane < width ? load<f32>(from + at + (<usize>lane << 2)) : 0), v, 0, 4, 5, 6);
      }
      v128.store(x, v);
      v128.store(weighted, f32x4.mul(v, f32x4.splat(factor)));
      x += 16;
      weighted += 16;
    }
  }
}

function storeChannels(
  op: Ssd, row: usize, channels: usize, tokens: i32, width: i32, rowBytes: usize, D: f32, x: usize, y: usize,
): void {
  for (let t = 0; t < tokens; t++) {
    const to = op.y + (((row + t) * op.yStride + channels) << 2);
    let p = 0;
    for (; p + 4 <= width; p += 4) {
      const at = <usize>p << 2;
      v128.store(to + at, madd(v128.load(x + at), f32x4.splat(D), v128.load(y + at)));
    }
    for (; p < width; p++) {
      const at = <usize>p << 2;
      store<f32>(to + at, load<f32>(y + at) + D * load<f32>(x + at));
    }
    if (op.z != 0) gate(op, row + t, channels, 0, width);
    x += rowBytes;
    y += rowBytes;
  }
}

/** (rows, cols) of the state to (cols, padded). */
function transpose(from: usize, rows: i32, cols: i32, to: usize, padded: i32): void {
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      store<f32>(to + ((<usize>c * padded + r) << 2), load<f32>(from));
      from += 4;
    }
  }
}

function transposeBack(from: usize, padded: i32, cols: i32, to: usize, rows: i32): void {
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      store<f32>(to, load<f32>(from + ((<usize>c * padded + r) << 2)));
      to += 4;
    }
  }
}

function scale(values: usize, factor: f32, count: i32): void {
  const factors = f32x4.splat(factor);
  for (const end = values + (<usize>count << 2); values < end; values += 16) {
    v128.store(values, f32x4.mul(v128.load(values), factors));
  }
}
