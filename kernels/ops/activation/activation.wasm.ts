import { activate } from "../../wasm/activate.wasm";
import { madd } from "../../wasm/math.wasm";
import { loadSome, sliceCount, sliceEnd, SLICE, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-elementwise.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class ActivationCall {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  x: usize;
  xStride: i32;
  act: i32;
  scale: f32;
  bias: usize;
  gain: f32;
  y: usize;
  yStride: i32;
}

/** y = gain · act(scale · x + bias) */
export function activation(instruction: usize): void {
  const op = changetype<ActivationCall>(instruction);
  const slices = sliceCount(op.cols);
  const total = op.rows * slices;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) slice(op, item / slices, (item % slices) * SLICE);
  }
}

function slice(op: ActivationCall, row: i32, from: i32): void {
  const x = op.x + (<usize>row * op.xStride << 2);
  const y = op.y + (<usize>row * op.yStride << 2);
  const scale = f32x4.splat(op.scale);
  const gain = f32x4.splat(op.gain);
  const zero = f32x4.splat(0);
  const end = sliceEnd(from, op.cols);
  for (let i = from; i < end; i += 4) {
    const at = <usize>i << 2;
    const bias = op.bias == 0 ? zero : loadSome(op.bias + at, end - i);
    const value = activate(op.act, madd(loadSome(x + at, end - i), scale, bias));
    storeSome(y + at, f32x4.mul(gain, value), end - i);
  }
}
