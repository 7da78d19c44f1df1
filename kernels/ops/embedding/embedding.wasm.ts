import { grainOf, take } from "../../wasm/team.wasm";
import { expandRow } from "../linear/packed.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class Embedding {
  opcode: i32;
  bytes: i32;
  rows: i32;
  cols: i32;
  dtype: i32;
  ids: usize;
  table: usize;
  y: usize;
  yStride: i32;
}

/** The table may also be the last linear's weight, so its rows lie in that op's packed layout. */
export function embedding(instruction: usize): void {
  const op = changetype<Embedding>(instruction);
  const grain = grainOf(op.rows, 4);
  for (let first = take(grain); first < op.rows; first = take(grain)) {
    const end = min(first + grain, op.rows);
    for (let row = first; row < end; row++) {
      const id = load<i32>(op.ids + (<usize>row << 2));
      expandRow(op.table, op.dtype, op.cols, id, op.y + (<usize>row * op.yStride << 2));
    }
  }
}
