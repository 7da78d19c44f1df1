// What all kernels of `linear` share: the instruction, and how sums become outputs.
import { GROUP } from "./packed.wasm";

/** The words of an instruction, as encode.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
export class Linear {
  opcode: i32;
  bytes: i32;
  /** Rows of x and y. */
  rows: i32;
  /** Columns of x, K. */
  cols: i32;
  /** Columns of y, R. */
  outputs: i32;
  dtype: i32;
  x: usize;
  xStride: i32;
  weight: usize;
  bias: usize;
  residual: usize;
  residualStride: i32;
  y: usize;
  yStride: i32;
  /** Room for x in 16 bits if the threads share that work, 0 if each does all of it. */
  quantized: usize;
  /** 1: x is rounded to 8 bits even where its rows are few. */
  eightBits: i32;
}

/** Writes 8 outputs of a row (fewer in the last group) with bias and residual. */
export function finish(op: Linear, row: i32, output: i32, low: v128, high: v128): void {
  const at = <usize>output << 2;
  const y = op.y + (<usize>row * op.yStride << 2) + at;
  const bias = op.bias + at;
  const residual = op.residual + (<usize>row * op.residualStride << 2) + at;
  if (output + GROUP <= op.outputs) {
    if (op.bias != 0) {
      low = f32x4.add(low, v128.load(bias));
      high = f32x4.add(high, v128.load(bias, 16));
    }
    if (op.residual != 0) {
      low = f32x4.add(low, v128.load(residual));
      high = f32x4.add(high, v128.load(residual, 16));
    }
    v128.store(y, low);
    v128.store(y, high, 16);
    return;
  }
  for (let i = 0; i < op.outputs - output; i++) {
    let value = f32x4.extract_lane(low, 0);
    low = v128.shuffle<f32>(low, high, 1, 2, 3, 4);
    high = v128.shuffle<f32>(high, high, 1, 2, 3, 3);
    if (op.bias != 0) value += load<f32>(bias + (<usize>i << 2));
    if (op.residual != 0) value += load<f32>(residual + (<usize>i << 2));
    store<f32>(y + (<usize>i << 2), value);
  }
}
