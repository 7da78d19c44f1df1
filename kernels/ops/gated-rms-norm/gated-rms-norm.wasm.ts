import { silu, silu1 } from "../../wasm/math.wasm";
import { grainOf, take } from "../../wasm/team.wasm";
import { normalise } from "../rms-norm/rms-norm.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class GatedRmsNorm {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  groupSize: i32;
  x: usize;
  xStride: i32;
  z: usize;
  zStride: i32;
  weight: usize;
  eps: f32;
  y: usize;
  yStride: i32;
}

export function gatedRmsNorm(instruction: usize): void {
  const op = changetype<GatedRmsNorm>(instruction);
  const groups = op.cols / op.groupSize;
  const total = op.rows * groups;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const row = <usize>(item / groups);
      const from = <usize>(item % groups) * op.groupSize;
      const x = op.x + (row * op.xStride + from << 2);
      const z = op.z + (row * op.zStride + from << 2);
      const y = op.y + (row * op.yStride + from << 2);
      gate(x, z, op.groupSize, y);
      normalise(y, op.weight + (from << 2), <f32>op.groupSize, op.eps, op.groupSize, y);
    }
  }
}

function gate(x: usize, z: usize, count: i32, y: usize): void {
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 2;
    v128.store(y + at, f32x4.mul(v128.load(x + at), silu(v128.load(z + at))));
  }
  for (; i < count; i++) {
    const at = <usize>i << 2;
    store<f32>(y + at, load<f32>(x + at) * silu1(load<f32>(z + at)));
  }
}
