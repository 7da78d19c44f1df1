import { horizontalSum, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-rwkv.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Wkv7Bonus {
  opcode: i32;
  bytes: i32;
  rows: i32;
  heads: i32;
  keyDim: i32;
  valueDim: i32;
  x: usize;
  xStride: i32;
  r: usize;
  rStride: i32;
  k: usize;
  kStride: i32;
  v: usize;
  vStride: i32;
  g: usize;
  gStride: i32;
  weight: usize;
  y: usize;
  yStride: i32;
}

/** y = (x + (r · (ρ ⊙ k̃)) v) ⊙ g, head by head. */
export function wkv7Bonus(instruction: usize): void {
  const op = changetype<Wkv7Bonus>(instruction);
  const total = op.rows * op.heads;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) oneHead(op, <usize>(item / op.heads), item % op.heads);
  }
}

function oneHead(op: Wkv7Bonus, row: usize, head: i32): void {
  const keys = <usize>head * op.keyDim << 2;
  const r = op.r + (row * op.rStride << 2) + keys;
  const k = op.k + (row * op.kStride << 2) + keys;
  const weight = op.weight + keys;
  let sum = f32x4.splat(0);
  for (let j = 0; j < op.keyDim; j += 4) {
    const at = <usize>j << 2;
    const count = op.keyDim - j;
    const read = f32x4.mul(loadSome(r + at, count), loadSome(weight + at, count));
    sum = madd(read, loadSome(k + at, count), sum);
  }
  const bonus = f32x4.splat(horizontalSum(sum));
  const values = <usize>head * op.valueDim << 2;
  const x = op.x + (row * op.xStride << 2) + values;
  const v = op.v + (row * op.vStride << 2) + values;
  const g = op.g + (row * op.gStride << 2) + values;
  const y = op.y + (row * op.yStride << 2) + values;
  for (let i = 0; i < op.valueDim; i += 4) {
    const at = <usize>i << 2;
    const count = op.valueDim - i;
    const value = madd(bonus, loadSome(v + at, count), loadSome(x + at, count));
    storeSome(y + at, f32x4.mul(value, loadSome(g + at, count)), count);
  }
}
