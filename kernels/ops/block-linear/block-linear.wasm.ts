import { accumulate } from "../../wasm/product.wasm";
import { grainOf, scratch, take } from "../../wasm/team.wasm";
import { expandGroup, F32, GROUP, groupBytes } from "../linear/packed.wasm";

/** The words of an instruction, as encode-elementwise.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
class BlockLinear {
  opcode: i32;
  bytes: i32;
  /** Rows of x and y. */
  rows: i32;
  /** Columns of a block of x, K. */
  cols: i32;
  /** Columns of y, nBlock · R. */
  outputs: i32;
  /** Columns of a block of y, R. */
  blockOutputs: i32;
  dtype: i32;
  x: usize;
  xStride: i32;
  weight: usize;
  /** 0: none. */
  bias: usize;
  y: usize;
  yStride: i32;
}

/** Bytes of the sums of four rows of x times a group of weights. */
@inline const SUMS: usize = 4 * 32;

/** y[t, r] = Σ_k weight[r, k] x[t, b K + k] + bias[r], b = ⌊r / R⌋ */
export function blockLinear(instruction: usize): void {
  const op = changetype<BlockLinear>(instruction);
  const groups = (op.outputs + GROUP - 1) / GROUP;
  const grain = grainOf(groups, 8);
  const size = groupBytes(op.dtype, op.cols);
  for (let first = take(grain); first < groups; first = take(grain)) {
    const end = min(first + grain, groups);
    for (let group = first; group < end; group++) {
      let weight = op.weight + <usize>group * size;
      if (op.dtype != F32) {
        expandGroup(weight, op.dtype, op.cols, scratch() + SUMS);
        weight = scratch() + SUMS;
      }
      multiplyGroup(op, weight, group * GROUP);
    }
  }
}

/**
 * 8 outputs of all rows. Where a group reaches into the next block, all 8 are computed with each block's x, and those that belong to it
 * are kept.
 */
function multiplyGroup(op: BlockLinear, weight: usize, output: i32): void {
  const end = min(output + GROUP, op.outputs);
  const sums = scratch();
  const xRow = <usize>op.xStride << 2;
  for (let from = output; from < end; ) {
    const block = from / op.blockOutputs;
    const to = min((block + 1) * op.blockOutputs, end);
    const x = op.x + (<usize>block * op.cols << 2);
    for (let row = 0; row < op.rows; row += 4) {
      const rows = min(4, op.rows - row);
      memory.fill(sums, 0, SUMS);
      accumulate(rows, x + <usize>row * xRow, xRow, 4, weight, 32, op.cols, sums, 32);
      for (let i = 0; i < rows; i++) {
        const y = op.y + (<usize>(row + i) * op.yStride << 2);
        for (let r = from; r < to; r++) {
          const bias: f32 = op.bias == 0 ? 0 : load<f32>(op.bias + (<usize>r << 2));
          store<f32>(y + (<usize>r << 2), load<f32>(sums + (<usize>i << 5) + (<usize>(r - output) << 2)) + bias);
        }
      }
    }
    from = to;
  }
}
