import { madd } from "../../wasm/math.wasm";
import { loadSome, sliceCount, sliceEnd, SLICE, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-elementwise.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class ScaledAdd {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  a: usize;
  aStride: i32;
  /** Factors by column; 0: one number for all. */
  aScales: usize;
  aScale: f32;
  /** 0: no b. */
  b: usize;
  bStride: i32;
  bScales: usize;
  bScale: f32;
  /** 0: none. */
  bias: usize;
  y: usize;
  yStride: i32;
}

/** y = aScale ⊙ a + bScale ⊙ b + bias */
export function scaledAdd(instruction: usize): void {
  const op = changetype<ScaledAdd>(instruction);
  const slices = sliceCount(op.cols);
  const total = op.rows * slices;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) slice(op, item / slices, (item % slices) * SLICE);
  }
}

function slice(op: ScaledAdd, row: i32, from: i32): void {
  const a = op.a + (<usize>row * op.aStride << 2);
  const b = op.b + (<usize>row * op.bStride << 2);
  const y = op.y + (<usize>row * op.yStride << 2);
  const end = sliceEnd(from, op.cols);
  const aScale = f32x4.splat(op.aScale);
  const bScale = f32x4.splat(op.bScale);
  for (let i = from; i < end; i += 4) {
    const at = <usize>i << 2;
    const left = end - i;
    const ofA = op.aScales == 0 ? aScale : loadSome(op.aScales + at, left);
    let sum = f32x4.mul(ofA, loadSome(a + at, left));
    if (op.b != 0) {
      const ofB = op.bScales == 0 ? bScale : loadSome(op.bScales + at, left);
      sum = madd(ofB, loadSome(b + at, left), sum);
    }
    if (op.bias != 0) sum = f32x4.add(sum, loadSome(op.bias + at, left));
    storeSome(y + at, sum, left);
  }
}
