import { KernelError } from "./errors.ts";
import type { Tensor } from "./tensor.ts";

/** Columns `from … from + count - 1` of every row, as a view. */
export function columns(x: Tensor, from: number, count: number): Tensor {
  if (from < 0 || count < 0 || from + count > x.cols) {
    throw new KernelError(
      "shape",
      `columns ${from}…${from + count - 1} of a tensor with ${x.cols} columns`,
    );
  }
  return { ...x, offset: x.offset + from, cols: count };
}

/** Splits the columns of x into views of the given widths, which must add up to `x.cols`. */
export function split<const Widths extends readonly number[]>(
  x: Tensor,
  widths: Widths,
): { readonly [Index in keyof Widths]: Tensor } {
  const total = widths.reduce((sum, width) => sum + width, 0);
  if (total !== x.cols) {
    throw new KernelError(
      "shape",
      `split into ${widths.join(" + ")} = ${total}, but there are ${x.cols} columns`,
    );
  }
  let from = 0;
  const views = widths.map((width) => {
    const view = columns(x, from, width);
    from += width;
    return view;
  });
  return views as { readonly [Index in keyof Widths]: Tensor };
}

/**
 * The same values in rows of another width: (rows, n * cols) → (rows * n, cols) and back, as a view.
 * @throws KernelError `shape` if x is itself a view with gaps, or the values do not divide
 */
export function reshape(x: Tensor, cols: number): Tensor {
  const values = x.rows * x.cols;
  if (x.stride !== x.cols || values % cols !== 0) {
    throw new KernelError(
      "shape",
      `a tensor of (${x.rows}, ${x.cols}) with rows ${x.stride} apart cannot be seen in rows of ${cols}`,
    );
  }
  return { ...x, rows: values / cols, cols, stride: cols };
}

/** The last token's row of each sequence: (B * T, cols) → (B, cols), as a view. */
export function lastRows(x: Tensor, length: number): Tensor {
  return {
    ...x,
    offset: x.offset + (length - 1) * x.stride,
    rows: x.rows / length,
    stride: x.stride * length,
  };
}

/** @throws KernelError `shape` naming op and operand, if x is not (rows, cols) */
export function expectShape(
  op: string,
  operand: string,
  x: { rows: number; cols: number },
  rows: number,
  cols: number,
): void {
  if (x.rows !== rows || x.cols !== cols) {
    throw new KernelError(
      "shape",
      `${op}: ${operand} is (${x.rows}, ${x.cols}), expected (${rows}, ${cols})`,
      {
        op,
        operand,
        expectedRows: rows,
        expectedCols: cols,
        rows: x.rows,
        cols: x.cols,
      },
    );
  }
}
