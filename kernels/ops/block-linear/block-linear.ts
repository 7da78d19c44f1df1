import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const blockLinearOp = {
  name: "block-linear",
  access: { x: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface BlockLinearOperands {
  /** (rows, nBlock * K) */
  readonly x: Tensor;
  /** (nBlock * R, K), packed: the blocks one below the other. */
  readonly weight: Weight;
  /** (1, nBlock * R), or null. */
  readonly bias: Weight | null;
  readonly nBlock: number;
  /** (rows, nBlock * R) */
  readonly y: Tensor;
}

/**
 * A block-diagonal product: y[:, b] = x[:, b] W_bᵀ + bias[b] for each of `nBlock` blocks of columns.
 * Griffin's gates (arXiv:2402.19427 §2.4), Zamba's heads, grouped convolutions a tap at a time.
 */
export function blockLinear(
  k: Recorder,
  operands: Omit<BlockLinearOperands, "y" | "bias"> & { readonly bias?: Weight | null },
): Tensor {
  const { x, weight, bias = null, nBlock } = operands;
  if (
    !Number.isInteger(nBlock) ||
    nBlock < 1 ||
    weight.rows % nBlock !== 0 ||
    weight.cols * nBlock !== x.cols
  ) {
    throw new KernelError(
      "shape",
      `block-linear: a weight of (${weight.rows}, ${weight.cols}) in ${nBlock} blocks does not fit ${x.cols} columns`,
    );
  }
  if (bias !== null) expectShape("block-linear", "bias", bias, 1, weight.rows);
  const y = k.temporary(x.rows, weight.rows);
  k.record(blockLinearOp, { x, weight, bias, nBlock, y } satisfies BlockLinearOperands &
    Record<string, unknown>);
  return y;
}
