import { madd } from "../../wasm/math.wasm";
import { loadSome, sliceCount, sliceEnd, SLICE, storeSome } from "../../wasm/slices.wasm";
import { grainOf, take } from "../../wasm/team.wasm";

/** The words of an instruction, as encode-rwkv.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class TokenShift {
  opcode: i32;
  bytes: i32;
  batch: i32;
  length: i32;
  channels: i32;
  mixtures: i32;
  x: usize;
  xStride: i32;
  mix: usize;
  state: usize;
  stateStride: i32;
  y: usize;
  yStride: i32;
}

/** y_j[t] = x[t] + mix_j ⊙ (x[t − 1] − x[t]); x[−1] is the state. */
export function tokenShift(instruction: usize): void {
  const op = changetype<TokenShift>(instruction);
  const slices = sliceCount(op.channels);
  const total = op.batch * op.length * slices;
  const grain = grainOf(total, 4);
  for (let first = take(grain); first < total; first = take(grain)) {
    const end = min(first + grain, total);
    for (let item = first; item < end; item++) {
      const row = item / slices;
      const from = (item % slices) * SLICE;
      const state = op.state + (<usize>(row / op.length) * op.stateStride << 2);
      const x = op.x + (<usize>row * op.xStride << 2);
      const begins = row % op.length == 0;
      mixSlice(op, x, begins ? state : x - (<usize>op.xStride << 2), <usize>row, from);
      // Who reads the state is the only one who may replace it.
      if (begins) {
        const last = x + (<usize>(op.length - 1) * op.xStride << 2);
        const bytes = <usize>(sliceEnd(from, op.channels) - from) << 2;
        memory.copy(state + (<usize>from << 2), last + (<usize>from << 2), bytes);
      }
    }
  }
}

function mixSlice(op: TokenShift, x: usize, before: usize, row: usize, from: i32): void {
  const end = sliceEnd(from, op.channels);
  const bytes = <usize>op.channels << 2;
  for (let i = from; i < end; i += 4) {
    const at = <usize>i << 2;
    const count = end - i;
    const now = loadSome(x + at, count);
    const step = f32x4.sub(loadSome(before + at, count), now);
    let mix = op.mix + at;
    let y = op.y + (row * op.yStride << 2) + at;
    for (let j = 0; j < op.mixtures; j++) {
      storeSome(y, madd(loadSome(mix, count), step, now), count);
      mix += bytes;
      y += bytes;
    }
  }
}
