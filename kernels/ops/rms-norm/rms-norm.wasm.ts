import { horizontalSum, madd } from "../../wasm/math.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class RmsNorm {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  x: usize;
  xStride: i32;
  weight: usize;
  eps: f32;
  y: usize;
  yStride: i32;
}

export function rmsNorm(instruction: usize): void {
  const op = changetype<RmsNorm>(instruction);
  const grain = grainOf(op.rows, 4);
  for (let first = take(grain); first < op.rows; first = take(grain)) {
    const end = min(first + grain, op.rows);
    for (let row = first; row < end; row++) {
      normalise(op.x + (<usize>row * op.xStride << 2), op.weight, op.eps, op.cols, op.y + (<usize>row * op.yStride << 2));
    }
  }
}

/** y = x / sqrt(mean(x²) + eps) · weight; y may be x. */
export function normalise(x: usize, weight: usize, eps: f32, cols: i32, y: usize): void {
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
  const scale: f32 = 1 / sqrt<f32>(sum / <f32>cols + eps);
  const scales = f32x4.splat(scale);
  for (i = 0; i + 4 <= cols; i += 4) {
    const at = <usize>i << 2;
    v128.store(y + at, f32x4.mul(f32x4.mul(v128.load(x + at), scales), v128.load(weight + at)));
  }
  for (; i < cols; i++) {
    const at = <usize>i << 2;
    store<f32>(y + at, load<f32>(x + at) * scale * load<f32>(weight + at));
  }
}
