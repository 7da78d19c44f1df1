import { activate, activate1 } from "../../wasm/activate.wasm";
import { loadSome, sliceCount, sliceEnd, SLICE, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-elementwise.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Gate {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  repeat: i32;
  act: i32;
  a: usize;
  aStride: i32;
  b: usize;
  bStride: i32;
  y: usize;
  yStride: i32;
}

/** y[t, i] = act(a[t, ⌊i / repeat⌋]) · b[t, i] */
export function gate(instruction: usize): void {
  const op = changetype<Gate>(instruction);
  const slices = sliceCount(op.cols);
  const total = op.rows * slices;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const row = <usize>(item / slices);
      const from = (item % slices) * SLICE;
      const a = op.a + (row * op.aStride << 2);
      const b = op.b + (row * op.bStride << 2);
      const y = op.y + (row * op.yStride << 2);
      if (op.repeat == 1) gateEach(op, a, b, y, from);
      else gateRepeated(op, a, b, y, from);
    }
  }
}

function gateEach(op: Gate, a: usize, b: usize, y: usize, from: i32): void {
  const end = sliceEnd(from, op.cols);
  for (let i = from; i < end; i += 4) {
    const at = <usize>i << 2;
    const opened = activate(op.act, loadSome(a + at, end - i));
    storeSome(y + at, f32x4.mul(opened, loadSome(b + at, end - i)), end - i);
  }
}

function gateRepeated(op: Gate, a: usize, b: usize, y: usize, from: i32): void {
  const end = sliceEnd(from, op.cols);
  let i = from;
  while (i < end) {
    const gateIndex = i / op.repeat;
    const opened = f32x4.splat(activate1(op.act, load<f32>(a + (<usize>gateIndex << 2))));
    const to = min((gateIndex + 1) * op.repeat, end);
    for (; i < to; i += 4) {
      const at = <usize>i << 2;
      storeSome(y + at, f32x4.mul(opened, loadSome(b + at, to - i)), to - i);
    }
    i = to;
  }
}
