import { horizontalSum, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class RmsNorm {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  groupSize: i32;
  x: usize;
  xStride: i32;
  /** 0: none. */
  weight: usize;
  /** Columns from one group's weights to the next's; 0: all groups share them. */
  weightStep: i32;
  /** What the sum of squares is divided by. */
  divisor: f32;
  eps: f32;
  y: usize;
  yStride: i32;
}

export function rmsNorm(instruction: usize): void {
  const op = changetype<RmsNorm>(instruction);
  const groups = op.cols / op.groupSize;
  const total = op.rows * groups;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const row = <usize>(item / groups);
      const group = <usize>(item % groups);
      const from = group * op.groupSize;
      const x = op.x + (row * op.xStride + from << 2);
      const y = op.y + (row * op.yStride + from << 2);
      const weight = op.weight == 0 ? 0 : op.weight + (group * op.weightStep << 2);
      normalise(x, weight, op.divisor, op.eps, op.groupSize, y);
    }
  }
}

/** y = x / sqrt(Σ x² / divisor + eps) · weight, or without a weight where that is 0; y may be x. */
export function normalise(x: usize, weight: usize, divisor: f32, eps: f32, cols: i32, y: usize): void {
  let a = f32x4.splat(0), b = a;
  let i = 0;
  for (; i + 8 <= cols; i += 8) {
    const p = x + (<usize>i << 2);
    const u = v128.load(p), v = v128.load(p, 16);
    a = madd(u, u, a);
    b = madd(v, v, b);
  }
  let sum = horizontalSum(f32x4.add(a, b));
  for (; i < cols; i++) {
    const u = load<f32>(x + (<usize>i << 2));
    sum += u * u;
  }
  const scales = f32x4.splat(1 / sqrt<f32>(sum / divisor + eps));
  for (i = 0; i < cols; i += 4) {
    const at = <usize>i << 2;
    let value = f32x4.mul(loadSome(x + at, cols - i), scales);
    if (weight != 0) value = f32x4.mul(value, loadSome(weight + at, cols - i));
    storeSome(y + at, value, cols - i);
  }
}
