// What all kernels of `expert-linear` share.

/** The words of both instructions, as encode-experts.ts writes them. Addresses in bytes, strides in values. */
@unmanaged
export class ExpertLinear {
  opcode: i32;
  bytes: i32;
  /** Rows of x and y. */
  rows: i32;
  /** K */
  cols: i32;
  /** R */
  outputs: i32;
  nExpert: i32;
  topK: i32;
  dtype: i32;
  x: usize;
  xStride: i32;
  /** Columns of x from one expert's part to the next's: K, or 0 where all have the same. */
  xStep: i32;
  weight: usize;
  /** 0: none. */
  bias: usize;
  experts: usize;
  expertsStride: i32;
  /** (rows, topK * R): y, or the workspace of a sum that follows. */
  products: usize;
  productsStride: i32;
  /** 0: the products stay apart. */
  weights: usize;
  weightsStride: i32;
  /** 0: none. */
  residual: usize;
  residualStride: i32;
  y: usize;
  yStride: i32;
  /** 1: x is rounded to 8 bits even where its rows are few. */
  eightBits: i32;
}

/** The number of the expert in place j of a row, or −1 for no expert. */
@inline
export function expertOf(op: ExpertLinear, row: i32, j: i32): i32 {
  const expert = load<f32>(op.experts + (<usize>row * op.expertsStride + j << 2));
  return expert >= 0 && expert < <f32>op.nExpert ? <i32>expert : -1;
}
