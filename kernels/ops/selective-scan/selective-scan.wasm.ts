import { exp1, exp2, horizontalSums, LOG2_E, madd, silu, silu1, softplus, softplus1 } from "../../wasm/math.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class SelectiveScan {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  channels: i32;
  dState: i32;
  nGroup: i32;
  dtSoftplus: i32;
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
}

/** Channels of one piece of work: a cache line of x. */
@inline const BLOCK: i32 = 16;
/** Tokens whose time steps are worked out ahead; encode.ts reserves scratch memory for them. */
@inline const TILE: i32 = 32;

/**
 * Channels are independent, so threads share them and every token is walked in order: the same arithmetic, bit for bit,
 * for decode and for any cut of a prompt.
 */
export function selectiveScan(instruction: usize): void {
  const op = changetype<SelectiveScan>(instruction);
  const blocks = (op.channels + BLOCK - 1) / BLOCK;
  const total = op.batch * blocks;
  const grain = grainOf(total, 4);
  const fast = op.dState % 4 == 0 && op.channels % 4 == 0 && (op.channels / op.nGroup) % 4 == 0;
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const b = item / blocks;
      const from = (item % blocks) * BLOCK;
      const to = min(from + BLOCK, op.channels);
      if (fast) scanBlock(op, b, from, to);
      else for (let t = 0; t < op.length; t++) {
        for (let channel = from; channel < to; channel++) oneChannel(op, <usize>b * op.length + t, b, channel);
      }
    }
  }
}

/** Time steps, recurrence and gate of a tile in turn: each pass keeps the vector units busy, together they would wait for each other. */
function scanBlock(op: SelectiveScan, b: i32, from: i32, to: i32): void {
  const stateBytes = <usize>op.dState << 2;
  const width = <usize>(to - from);
  const dt = scratch(); // (TILE, BLOCK): dt · log₂ e, as the state's decay e^(dt A) is taken as a power of 2
  const u = dt + (TILE * BLOCK << 2); // (TILE, BLOCK): dt · x
  const h = u + (TILE * BLOCK << 2); // the block's states, four channels side by side
  const A = h + BLOCK * stateBytes;
  const state = op.state + (<usize>b * op.stateStride << 2) + <usize>from * stateBytes;
  const weights = op.A + <usize>from * stateBytes;
  if (op.length > 1) {
    for (let c: usize = 0; c < width; c += 4) {
      transpose(state + c * stateBytes, stateBytes, h + c * stateBytes);
      transpose(weights + c * stateBytes, stateBytes, A + c * stateBytes);
    }
  }
  for (let t = 0; t < op.length; t += TILE) {
    const tokens = min(TILE, op.length - t);
    const row = <usize>b * op.length + t;
    timeSteps(op, row, tokens, from, to, dt, u);
    for (let c: usize = 0; c < width; c += 4) {
      const group = <usize>((from + <i32>c) / (op.channels / op.nGroup)) * stateBytes;
      const B = op.B + (row * op.BStride << 2) + group;
      const C = op.C + (row * op.CStride << 2) + group;
      const y = op.y + (row * op.yStride + from + c << 2);
      const at = c << 2;
      if (op.length == 1) stepFour(weights + c * stateBytes, state + c * stateBytes, stateBytes, B, C, dt + at, u + at, y);
      else scanFour(op, tokens, A + c * stateBytes, h + c * stateBytes, stateBytes, B, C, dt + at, u + at, y);
    }
    finish(op, row, tokens, from, to);
  }
  if (op.length > 1) {
    for (let c: usize = 0; c < width; c += 4) transposeBack(h + c * stateBytes, stateBytes, state + c * stateBytes);
  }
}

function timeSteps(op: SelectiveScan, row: usize, tokens: i32, from: i32, to: i32, dt: usize, u: usize): void {
  for (let t: usize = 0; t < <usize>tokens; t++) {
    const x = op.x + ((row + t) * op.xStride << 2);
    const raw = op.dt + ((row + t) * op.dtStride << 2);
    for (let c = from; c < to; c += 4) {
      const at = <usize>c << 2;
      let step = v128.load(raw + at);
      if (op.dtBias != 0) step = f32x4.add(step, v128.load(op.dtBias + at));
      if (op.dtSoftplus != 0) step = softplus(step);
      const place = (t * BLOCK << 2) + (<usize>(c - from) << 2);
      v128.store(dt + place, f32x4.mul(step, f32x4.splat(LOG2_E)));
      v128.store(u + place, f32x4.mul(step, v128.load(x + at)));
    }
  }
}

/** y + D x, gated. */
function finish(op: SelectiveScan, row: usize, tokens: i32, from: i32, to: i32): void {
  if (op.D == 0 && op.z == 0) return;
  for (let t: usize = 0; t < <usize>tokens; t++) {
    const x = op.x + ((row + t) * op.xStride << 2);
    const z = op.z + ((row + t) * op.zStride << 2);
    const y = op.y + ((row + t) * op.yStride << 2);
    for (let c = from; c < to; c += 4) {
      const at = <usize>c << 2;
      let value = v128.load(y + at);
      if (op.D != 0) value = madd(v128.load(op.D + at), v128.load(x + at), value);
      if (op.z != 0) value = f32x4.mul(value, silu(v128.load(z + at)));
      v128.store(y + at, value);
    }
  }
}

/** One token of four channels; vectors run over dState, as the state lies. */
function stepFour(A: usize, h: usize, stateBytes: usize, B: usize, C: usize, dt: usize, u: usize, y: usize): void {
  const dt0 = v128.load32_splat(dt), dt1 = v128.load32_splat(dt, 4), dt2 = v128.load32_splat(dt, 8), dt3 = v128.load32_splat(dt, 12);
  const u0 = v128.load32_splat(u), u1 = v128.load32_splat(u, 4), u2 = v128.load32_splat(u, 8), u3 = v128.load32_splat(u, 12);
  const second = stateBytes, third = stateBytes * 2, fourth = stateBytes * 3;
  let y0 = f32x4.splat(0);
  let y1 = y0, y2 = y0, y3 = y0;
  for (const end = B + stateBytes; B < end; B += 16) {
    const Bn = v128.load(B), Cn = v128.load(C);
    let next = madd(exp2(f32x4.mul(dt0, v128.load(A))), v128.load(h), f32x4.mul(u0, Bn));
    v128.store(h, next);
    y0 = madd(next, Cn, y0);
    next = madd(exp2(f32x4.mul(dt1, v128.load(A + second))), v128.load(h + second), f32x4.mul(u1, Bn));
    v128.store(h + second, next);
    y1 = madd(next, Cn, y1);
    next = madd(exp2(f32x4.mul(dt2, v128.load(A + third))), v128.load(h + third), f32x4.mul(u2, Bn));
    v128.store(h + third, next);
    y2 = madd(next, Cn, y2);
    next = madd(exp2(f32x4.mul(dt3, v128.load(A + fourth))), v128.load(h + fourth), f32x4.mul(u3, Bn));
    v128.store(h + fourth, next);
    y3 = madd(next, Cn, y3);
    C += 16;
    A += 16;
    h += 16;
  }
  v128.store(y, horizontalSums(y0, y1, y2, y3));
}

/** Tokens of four channels, which are the lanes: A and h are (dState, 4). Sums in the order of `stepFour`. */
function scanFour(
  op: SelectiveScan, tokens: i32, A: usize, h: usize, stateBytes: usize, B: usize, C: usize, dt: usize, u: usize, y: usize,
): void {
  const BBytes = <usize>op.BStride << 2, CBytes = <usize>op.CStride << 2, yBytes = <usize>op.yStride << 2;
  for (let t = 0; t < tokens; t++) {
    const step = v128.load(dt), input = v128.load(u);
    let y0 = f32x4.splat(0);
    let y1 = y0, y2 = y0, y3 = y0;
    let An = A, hn = h, Cn = C;
    for (let Bn = B, end = B + stateBytes; Bn < end; Bn += 16) {
      let next = madd(exp2(f32x4.mul(step, v128.load(An))), v128.load(hn), f32x4.mul(input, v128.load32_splat(Bn)));
      v128.store(hn, next);
      y0 = madd(next, v128.load32_splat(Cn), y0);
      next = madd(exp2(f32x4.mul(step, v128.load(An, 16))), v128.load(hn, 16), f32x4.mul(input, v128.load32_splat(Bn, 4)));
      v128.store(hn, next, 16);
      y1 = madd(next, v128.load32_splat(Cn, 4), y1);
      next = madd(exp2(f32x4.mul(step, v128.load(An, 32))), v128.load(hn, 32), f32x4.mul(input, v128.load32_splat(Bn, 8)));
      v128.store(hn, next, 32);
      y2 = madd(next, v128.load32_splat(Cn, 8), y2);
      next = madd(exp2(f32x4.mul(step, v128.load(An, 48))), v128.load(hn, 48), f32x4.mul(input, v128.load32_splat(Bn, 12)));
      v128.store(hn, next, 48);
      y3 = madd(next, v128.load32_splat(Cn, 12), y3);
      An += 64;
      hn += 64;
      Cn += 16;
    }
    v128.store(y, f32x4.add(f32x4.add(y0, y2), f32x4.add(y1, y3)));
    B += BBytes;
    C += CBytes;
    y += yBytes;
    dt += BLOCK << 2;
    u += BLOCK << 2;
  }
}

/** (4, dState) to (dState, 4). */
function transpose(from: usize, rowBytes: usize, to: usize): void {
  for (const end = from + rowBytes; from < end; from += 16) {
    const r0 = v128.load(from), r1 = v128.load(from + rowBytes), r2 = v128.load(from + rowBytes * 2), r3 = v128.load(from + rowBytes * 3);
    const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const t2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f32>(t0, t2, 0, 1, 4, 5));
    v128.store(to, v128.shuffle<f32>(t0, t2, 2, 3, 6, 7), 16);
    v128.store(to, v128.shuffle<f32>(t1, t3, 0, 1, 4, 5), 32);
    v128.store(to, v128.shuffle<f32>(t1, t3, 2, 3, 6, 7), 48);
    to += 64;
  }
}

/** (dState, 4) to (4, dState). */
function transposeBack(from: usize, rowBytes: usize, to: usize): void {
  for (const end = to + rowBytes; to < end; to += 16) {
    const r0 = v128.load(from), r1 = v128.load(from, 16), r2 = v128.load(from, 32), r3 = v128.load(from, 48);
    const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5), t1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const t2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5), t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f32>(t0, t2, 0, 1, 4, 5));
    v128.store(to + rowBytes, v128.shuffle<f32>(t0, t2, 2, 3, 6, 7));
    v128.store(to + rowBytes * 2, v128.shuffle<f32>(t1, t3, 0, 1, 4, 5));
    v128.store(to + rowBytes * 3, v128.shuffle<f32>(t1, t3, 2, 3, 6, 7));
    from += 64;
  }
}

function oneChannel(op: SelectiveScan, row: usize, b: i32, channel: i32): void {
  const at = <usize>channel << 2;
  const group = <usize>(channel / (op.channels / op.nGroup));
  const stateBytes = <usize>op.dState << 2;
  let dt = load<f32>(op.dt + (row * op.dtStride << 2) + at);
  if (op.dtBias != 0) dt += load<f32>(op.dtBias + at);
  if (op.dtSoftplus != 0) dt = softplus1(dt);
  const x = load<f32>(op.x + (row * op.xStride << 2) + at);
  const B = op.B + (row * op.BStride << 2) + group * stateBytes;
  const C = op.C + (row * op.CStride << 2) + group * stateBytes;
  const A = op.A + <usize>channel * stateBytes;
  const state = op.state + (<usize>b * op.stateStride << 2) + <usize>channel * stateBytes;
  let y: f32 = 0;
  for (let n: usize = 0; n < stateBytes; n += 4) {
    const h = exp1(dt * load<f32>(A + n)) * load<f32>(state + n) + dt * x * load<f32>(B + n);
    store<f32>(state + n, h);
    y += h * load<f32>(C + n);
  }
  if (op.D != 0) y += load<f32>(op.D + at) * x;
  if (op.z != 0) y *= silu1(load<f32>(op.z + (row * op.zStride << 2) + at));
  store<f32>(op.y + (row * op.yStride << 2) + at, y);
}
