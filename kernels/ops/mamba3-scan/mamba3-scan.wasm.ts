import { sigmoid, tanh } from "../../wasm/activate.wasm";
import { exp1, horizontalSum, horizontalSums, madd, silu1, softplus1 } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-mamba3-scan.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Mamba3Scan {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  heads: i32;
  headDim: i32;
  dState: i32;
  nAngle: i32;
  nGroup: i32;
  rank: i32;
  softplusDecay: i32;
  aFloor: f32;
  eps: f32;
  /** Columns from one partner of a rotation to the other, and from one pair to the next. */
  partner: i32;
  step: i32;
  x: usize;
  xStride: i32;
  z: usize;
  zStride: i32;
  B: usize;
  BStride: i32;
  C: usize;
  CStride: i32;
  dt: usize;
  dtStride: i32;
  a: usize;
  aStride: i32;
  trap: usize;
  trapStride: i32;
  angleRaw: usize;
  angleRawStride: i32;
  dtBias: usize;
  BBias: usize;
  CBias: usize;
  D: usize;
  mimoX: usize;
  mimoZ: usize;
  mimoO: usize;
  norm: usize;
  angles: usize;
  anglesStride: i32;
  state: usize;
  stateStride: i32;
  keys: usize;
  keysStride: i32;
  values: usize;
  valuesStride: i32;
  y: usize;
  yStride: i32;
}

/** Heads are independent, so threads share them and walk every token in order: the same arithmetic for any cut of a prompt. */
export function mamba3Scan(instruction: usize): void {
  const op = changetype<Mamba3Scan>(instruction);
  const total = op.batch * op.heads;
  for (let item = take(1); item < total; item = take(1)) scanHead(op, item / op.heads, item % op.heads);
}

function scanHead(op: Mamba3Scan, b: i32, head: i32): void {
  const N = op.dState, P = op.headDim, R = op.rank, S = op.nAngle;
  const rowBytes = <usize>N << 2;
  const firstRow = <usize>head * R; // of this head in what is (heads * rank, …)
  const group = head / (op.heads / op.nGroup);
  const q = scratch(); // (rank, dState)
  const nextKeys = q + <usize>R * rowBytes; // (rank, dState)
  const nextValues = nextKeys + <usize>R * rowBytes; // (rank, headDim)
  const o = nextValues + (<usize>(R * P) << 2); // (rank, headDim)
  const cosines = o + (<usize>(R * P) << 2); // (nAngle)
  const sines = cosines + (<usize>S << 2); // (nAngle)
  const h = op.state + ((<usize>b * op.stateStride + <usize>(head * P) * N) << 2);
  const keys = op.keys + ((<usize>b * op.keysStride + firstRow * N) << 2);
  const values = op.values + ((<usize>b * op.valuesStride + firstRow * P) << 2);
  const angles = op.angles + ((<usize>b * op.anglesStride + head * S) << 2);
  for (let t = 0; t < op.length; t++) {
    const row = <usize>b * op.length + t;
    const dt = softplus1(load<f32>(op.dt + ((row * op.dtStride + head) << 2)) + load<f32>(op.dtBias + (<usize>head << 2)));
    const alpha = exp1(dt * decayRate(op, load<f32>(op.a + ((row * op.aStride + head) << 2))));
    const trap = f32x4.splat(load<f32>(op.trap + ((row * op.trapStride + head) << 2)));
    const lambda = f32x4.extract_lane(sigmoid(trap), 0);
    const past = alpha * (1 - lambda) * dt, present = lambda * dt;
    turn(op.angleRaw + (row * op.angleRawStride << 2), dt, S, angles, cosines, sines);
    for (let r = 0; r < R; r++) {
      const at = <usize>r * rowBytes;
      const biased = (firstRow + r) * rowBytes;
      const column = <usize>(r * op.nGroup + group) * N;
      rotated(op, op.B + ((row * op.BStride + column) << 2), op.BBias + biased, cosines, sines, nextKeys + at);
      rotated(op, op.C + ((row * op.CStride + column) << 2), op.CBias + biased, cosines, sines, q + at);
      const x = op.x + ((row * op.xStride + head * P) << 2);
      const mimo = op.mimoX == 0 ? 0 : op.mimoX + ((firstRow + r) * P << 2);
      product(x, mimo, P, nextValues + (<usize>(r * P) << 2));
    }
    let p = 0;
    if (R == 1) for (; p + 4 <= P; p += 4) {
      const at = <usize>p << 2;
      const before = f32x4.mul(v128.load(values + at), f32x4.splat(past));
      const now = f32x4.mul(v128.load(nextValues + at), f32x4.splat(present));
      v128.store(o + at, fourRows(h + <usize>p * rowBytes, N, alpha, before, keys, now, nextKeys, q));
    }
    for (; p < P; p++) oneRow(h + <usize>p * rowBytes, p, N, P, R, alpha, past, values, keys, present, nextValues, nextKeys, q, o);
    memory.copy(keys, nextKeys, <usize>R * rowBytes);
    memory.copy(values, nextValues, <usize>(R * P) << 2);
    output(op, row, head, values, o);
  }
}

/** Four rows of h at rank 1: h = alpha h + before k[t−1] + now k[t], lane i of `before` and `now` being row i's. Returns h · q. */
function fourRows(h: usize, N: i32, alpha: f32, before: v128, lastKey: usize, now: v128, key: usize, q: usize): v128 {
  const rowBytes = <usize>N << 2;
  const factor = f32x4.splat(alpha);
  const b0 = v128.shuffle<f32>(before, before, 0, 0, 0, 0), b1 = v128.shuffle<f32>(before, before, 1, 1, 1, 1);
  const b2 = v128.shuffle<f32>(before, before, 2, 2, 2, 2), b3 = v128.shuffle<f32>(before, before, 3, 3, 3, 3);
  const n0 = v128.shuffle<f32>(now, now, 0, 0, 0, 0), n1 = v128.shuffle<f32>(now, now, 1, 1, 1, 1);
  const n2 = v128.shuffle<f32>(now, now, 2, 2, 2, 2), n3 = v128.shuffle<f32>(now, now, 3, 3, 3, 3);
  let s0 = f32x4.splat(0);
  let s1 = s0, s2 = s0, s3 = s0;
  for (let n = 0; n < N; n += 4) {
    const at = <usize>n << 2;
    const left = N - n;
    // Beyond the last column q is 0.
    const k0 = loadSome(lastKey + at, left), k1 = loadSome(key + at, left), qn = loadSome(q + at, left);
    let row = h + at;
    let next = madd(n0, k1, madd(b0, k0, f32x4.mul(factor, loadSome(row, left))));
    storeSome(row, next, left);
    s0 = madd(next, qn, s0);
    row += rowBytes;
    next = madd(n1, k1, madd(b1, k0, f32x4.mul(factor, loadSome(row, left))));
    storeSome(row, next, left);
    s1 = madd(next, qn, s1);
    row += rowBytes;
    next = madd(n2, k1, madd(b2, k0, f32x4.mul(factor, loadSome(row, left))));
    storeSome(row, next, left);
    s2 = madd(next, qn, s2);
    row += rowBytes;
    next = madd(n3, k1, madd(b3, k0, f32x4.mul(factor, loadSome(row, left))));
    storeSome(row, next, left);
    s3 = madd(next, qn, s3);
  }
  return horizontalSums(s0, s1, s2, s3);
}

/** Row p of h at any rank: h = alpha h + Σ_r (past v_r[t−1] k_r[t−1] + present v_r[t] k_r[t]), then o_r[p] = h · q_r. */
function oneRow(
  h: usize, p: i32, N: i32, P: i32, R: i32, alpha: f32,
  past: f32, lastValues: usize, lastKeys: usize, present: f32, values: usize, keys: usize, q: usize, o: usize,
): void {
  const rowBytes = <usize>N << 2;
  for (let n = 0; n < N; n += 4) {
    const at = <usize>n << 2;
    const left = N - n;
    let next = f32x4.mul(f32x4.splat(alpha), loadSome(h + at, left));
    for (let r = 0; r < R; r++) {
      const value = <usize>(r * P + p) << 2;
      const key = <usize>r * rowBytes + at;
      next = madd(f32x4.splat(past * load<f32>(lastValues + value)), loadSome(lastKeys + key, left), next);
      next = madd(f32x4.splat(present * load<f32>(values + value)), loadSome(keys + key, left), next);
    }
    storeSome(h + at, next, left);
  }
  for (let r = 0; r < R; r++) store<f32>(o + (<usize>(r * P + p) << 2), dot(h, q + <usize>r * rowBytes, N));
}

/** A, which is negative. */
function decayRate(op: Mamba3Scan, a: f32): f32 {
  const positive = op.softplusDecay != 0 ? softplus1(a) : max<f32>(a, 0) + 1 / (1 - min<f32>(a, 0));
  return min<f32>(-positive, -op.aFloor);
}

/** θ += π dt tanh(raw), modulo 2π; then their cosines and sines. */
function turn(raw: usize, dt: f32, count: i32, angles: usize, cosines: usize, sines: usize): void {
  const circle = f32x4.splat(6.283185307179586);
  for (let s = 0; s < count; s += 4) {
    const at = <usize>s << 2;
    const left = count - s;
    let angle = madd(tanh(loadSome(raw + at, left)), f32x4.splat(dt * 3.141592653589793), loadSome(angles + at, left));
    angle = f32x4.sub(angle, f32x4.mul(circle, f32x4.floor(f32x4.div(angle, circle))));
    storeSome(angles + at, angle, left);
    // r = angle − quadrant · π/2 in three steps, each exact: Cody & Waite.
    const quadrant = f32x4.nearest(f32x4.mul(angle, f32x4.splat(0.6366197723675814)));
    let r = f32x4.sub(angle, f32x4.mul(quadrant, f32x4.splat(1.5703125)));
    r = f32x4.sub(r, f32x4.mul(quadrant, f32x4.splat(4.83751296997e-4)));
    r = f32x4.sub(r, f32x4.mul(quadrant, f32x4.splat(7.54978995489e-8)));
    // Cephes' sinf and cosf on −π/4 … π/4.
    const square = f32x4.mul(r, r);
    let sine = madd(f32x4.splat(-1.9515295891e-4), square, f32x4.splat(8.3321608736e-3));
    sine = madd(sine, square, f32x4.splat(-1.6666654611e-1));
    sine = madd(f32x4.mul(sine, square), r, r);
    let cosine = madd(f32x4.splat(2.443315711809948e-5), square, f32x4.splat(-1.388731625493765e-3));
    cosine = madd(cosine, square, f32x4.splat(4.166664568298827e-2));
    cosine = madd(f32x4.mul(cosine, square), square, f32x4.sub(f32x4.splat(1), f32x4.mul(square, f32x4.splat(0.5))));
    const turns = i32x4.trunc_sat_f32x4_s(quadrant);
    const odd = i32x4.eq(v128.and(turns, i32x4.splat(1)), i32x4.splat(1));
    const sineSign = i32x4.shl(v128.and(turns, i32x4.splat(2)), 30);
    const cosineSign = i32x4.shl(v128.and(i32x4.add(turns, i32x4.splat(1)), i32x4.splat(2)), 30);
    storeSome(sines + at, v128.xor(v128.bitselect(cosine, sine, odd), sineSign), left);
    storeSome(cosines + at, v128.xor(v128.bitselect(sine, cosine, odd), cosineSign), left);
  }
}

/** to = R(θ)(from + bias) */
function rotated(op: Mamba3Scan, from: usize, bias: usize, cosines: usize, sines: usize, to: usize): void {
  const N = op.dState;
  for (let n = 0; n < N; n += 4) {
    const at = <usize>n << 2;
    storeSome(to + at, f32x4.add(loadSome(from + at, N - n), loadSome(bias + at, N - n)), N - n);
  }
  const partner = <usize>op.partner << 2;
  for (let s = 0; s < op.nAngle; s++) {
    const cosine = load<f32>(cosines + (<usize>s << 2)), sine = load<f32>(sines + (<usize>s << 2));
    const first = to + (<usize>(s * op.step) << 2);
    const x0 = load<f32>(first), x1 = load<f32>(first + partner);
    store<f32>(first, x0 * cosine - x1 * sine);
    store<f32>(first + partner, x0 * sine + x1 * cosine);
  }
}

/** to = a ⊙ b, b = 1 where it is missing. */
function product(a: usize, b: usize, count: i32, to: usize): void {
  for (let i = 0; i < count; i += 4) {
    const at = <usize>i << 2;
    const value = loadSome(a + at, count - i);
    storeSome(to + at, b == 0 ? value : f32x4.mul(value, loadSome(b + at, count - i)), count - i);
  }
}

function dot(a: usize, b: usize, count: i32): f32 {
  let sums = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 2;
    sums = madd(v128.load(a + at), v128.load(b + at), sums);
  }
  let sum = horizontalSum(sums);
  for (; i < count; i++) {
    const at = <usize>i << 2;
    sum += load<f32>(a + at) * load<f32>(b + at);
  }
  return sum;
}

/** o_r = o_r + D v_r; y = Σ_r mimoO_r ⊙ norm(o_r) ⊙ silu(z ⊙ mimoZ_r) */
function output(op: Mamba3Scan, row: usize, head: i32, values: usize, o: usize): void {
  const P = op.headDim;
  const D = f32x4.splat(load<f32>(op.D + (<usize>head << 2)));
  const count = op.rank * P;
  for (let i = 0; i < count; i += 4) {
    const at = <usize>i << 2;
    storeSome(o + at, madd(D, loadSome(values + at, count - i), loadSome(o + at, count - i)), count - i);
  }
  const channels = <usize>head * P;
  const z = op.z + ((row * op.zStride + channels) << 2);
  const y = op.y + ((row * op.yStride + channels) << 2);
  memory.fill(y, 0, <usize>P << 2);
  for (let r = 0; r < op.rank; r++) {
    const or = o + (<usize>(r * P) << 2);
    const mimo = (<usize>(head * op.rank + r) * P) << 2;
    const scale: f32 = op.norm == 0 ? 1 : 1 / Mathf.sqrt(dot(or, or, P) / <f32>P + op.eps);
    for (let p: usize = 0; p < <usize>P << 2; p += 4) {
      let gate = load<f32>(z + p);
      if (op.mimoZ != 0) gate *= load<f32>(op.mimoZ + mimo + p);
      let value = load<f32>(or + p) * scale * silu1(gate);
      if (op.norm != 0) value *= load<f32>(op.norm + (channels << 2) + p);
      if (op.mimoO != 0) value *= load<f32>(op.mimoO + mimo + p);
      store<f32>(y + p, load<f32>(y + p) + value);
    }
  }
}
