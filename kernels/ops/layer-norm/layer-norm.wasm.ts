import { horizontalSum, madd } from "../../wasm/math.wasm";
import { loadSome, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-elementwise.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class LayerNorm {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  groupSize: i32;
  x: usize;
  xStride: i32;
  /** 0: none. */
  weight: usize;
  /** 0: none. */
  bias: usize;
  eps: f32;
  y: usize;
  yStride: i32;
}

/** y = (x − mean) / sqrt(variance + eps) · weight + bias over each group of columns. */
export function layerNorm(instruction: usize): void {
  const op = changetype<LayerNorm>(instruction);
  const groups = op.cols / op.groupSize;
  const total = op.rows * groups;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const row = <usize>(item / groups);
      const from = (item % groups) * op.groupSize;
      normaliseGroup(op, op.x + (row * op.xStride + from << 2), <usize>from << 2, op.y + (row * op.yStride + from << 2));
    }
  }
}

function normaliseGroup(op: LayerNorm, x: usize, column: usize, y: usize): void {
  const size = op.groupSize;
  const zero = f32x4.splat(0);
  let sums = zero;
  for (let i = 0; i < size; i += 4) sums = f32x4.add(sums, loadSome(x + (<usize>i << 2), size - i));
  const mean = f32x4.splat(horizontalSum(sums) / <f32>size);
  let squares = zero;
  let i = 0;
  for (; i + 4 <= size; i += 4) {
    const centred = f32x4.sub(v128.load(x + (<usize>i << 2)), mean);
    squares = madd(centred, centred, squares);
  }
  let variance = horizontalSum(squares);
  for (; i < size; i++) {
    const centred = load<f32>(x + (<usize>i << 2)) - f32x4.extract_lane(mean, 0);
    variance += centred * centred;
  }
  const scale = f32x4.splat(1 / sqrt<f32>(variance / <f32>size + op.eps));
  for (i = 0; i < size; i += 4) {
    const at = <usize>i << 2;
    let value = f32x4.mul(f32x4.sub(loadSome(x + at, size - i), mean), scale);
    if (op.weight != 0) value = f32x4.mul(value, loadSome(op.weight + column + at, size - i));
    if (op.bias != 0) value = f32x4.add(value, loadSome(op.bias + column + at, size - i));
    storeSome(y + at, value, size - i);
  }
}
