import { exp, exp1, horizontalSums, madd, silu, silu1, softplus, softplus1 } from "../../wasm/math.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

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

/** Channels of one piece of work: a cache line of x; their states stay in the first-level cache. */
@inline const BLOCK: i32 = 16;

/**
 * Channels are independent, so threads share them and every token is walked in order: the same arithmetic for decode
 * and for any cut of a prompt. Vectors run over dState.
 */
export function selectiveScan(instruction: usize): void {
  const op = changetype<SelectiveScan>(instruction);
  const blocks = (op.channels + BLOCK - 1) / BLOCK;
  const total = op.batch * blocks;
  const grain = grainOf(total, 4);
  const fast = op.dState % 4 == 0 && (op.channels / op.nGroup) % 4 == 0;
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const b = item / blocks;
      const from = (item % blocks) * BLOCK;
      const to = min(from + BLOCK, op.channels);
      for (let t = 0; t < op.length; t++) {
        const row = <usize>b * op.length + t;
        let channel = from;
        if (fast) for (; channel < to; channel += 4) fourChannels(op, b, row, channel);
        else for (; channel < to; channel++) oneChannel(op, b, row, channel);
      }
    }
  }
}

function fourChannels(op: SelectiveScan, b: i32, row: usize, channel: i32): void {
  const at = <usize>channel << 2;
  const group = <usize>(channel / (op.channels / op.nGroup));
  const stateBytes = <usize>op.dState << 2;
  let dt = v128.load(op.dt + (row * op.dtStride << 2) + at);
  if (op.dtBias != 0) dt = f32x4.add(dt, v128.load(op.dtBias + at));
  if (op.dtSoftplus != 0) dt = softplus(dt);
  const x = v128.load(op.x + (row * op.xStride << 2) + at);
  const dtx = f32x4.mul(dt, x);
  const dt0 = v128.shuffle<f32>(dt, dt, 0, 0, 0, 0), dt1 = v128.shuffle<f32>(dt, dt, 1, 1, 1, 1);
  const dt2 = v128.shuffle<f32>(dt, dt, 2, 2, 2, 2), dt3 = v128.shuffle<f32>(dt, dt, 3, 3, 3, 3);
  const u0 = v128.shuffle<f32>(dtx, dtx, 0, 0, 0, 0), u1 = v128.shuffle<f32>(dtx, dtx, 1, 1, 1, 1);
  const u2 = v128.shuffle<f32>(dtx, dtx, 2, 2, 2, 2), u3 = v128.shuffle<f32>(dtx, dtx, 3, 3, 3, 3);
  let B = op.B + (row * op.BStride << 2) + group * stateBytes;
  let C = op.C + (row * op.CStride << 2) + group * stateBytes;
  let A0 = op.A + <usize>channel * stateBytes;
  let h0 = op.state + (<usize>b * op.stateStride << 2) + <usize>channel * stateBytes;
  const A1 = stateBytes, A2 = stateBytes * 2, A3 = stateBytes * 3;
  let y0 = f32x4.splat(0);
  let y1 = y0, y2 = y0, y3 = y0;
  for (const end = B + stateBytes; B < end; B += 16) {
    const Bn = v128.load(B), Cn = v128.load(C);
    let h = madd(exp(f32x4.mul(dt0, v128.load(A0))), v128.load(h0), f32x4.mul(u0, Bn));
    v128.store(h0, h);
    y0 = madd(h, Cn, y0);
    h = madd(exp(f32x4.mul(dt1, v128.load(A0 + A1))), v128.load(h0 + A1), f32x4.mul(u1, Bn));
    v128.store(h0 + A1, h);
    y1 = madd(h, Cn, y1);
    h = madd(exp(f32x4.mul(dt2, v128.load(A0 + A2))), v128.load(h0 + A2), f32x4.mul(u2, Bn));
    v128.store(h0 + A2, h);
    y2 = madd(h, Cn, y2);
    h = madd(exp(f32x4.mul(dt3, v128.load(A0 + A3))), v128.load(h0 + A3), f32x4.mul(u3, Bn));
    v128.store(h0 + A3, h);
    y3 = madd(h, Cn, y3);
    C += 16;
    A0 += 16;
    h0 += 16;
  }
  let y = horizontalSums(y0, y1, y2, y3);
  if (op.D != 0) y = madd(v128.load(op.D + at), x, y);
  if (op.z != 0) y = f32x4.mul(y, silu(v128.load(op.z + (row * op.zStride << 2) + at)));
  v128.store(op.y + (row * op.yStride << 2) + at, y);
}

function oneChannel(op: SelectiveScan, b: i32, row: usize, channel: i32): void {
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
