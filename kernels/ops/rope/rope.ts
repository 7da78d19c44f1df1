import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";

export const ropeOp = {
  name: "rope",
  access: { x: "read", y: "write" },
} as const satisfies OpDeclaration;

export interface RopeOperands {
  /** (B * T, nHead * headDim) */
  readonly x: Tensor;
  /** (1, rotaryDim / 2): radians a position, for each pair. All variants of scaling are in this table. */
  readonly frequencies: Weight;
  readonly headDim: number;
  /** The first rotated column of a head; what is outside of `offset … offset + rotaryDim − 1` passes unchanged. */
  readonly offset: number;
  /** Which columns make a pair: (i, i + rotaryDim / 2), or (2 i, 2 i + 1). */
  readonly pairs: "halves" | "neighbours";
  /** Multiplies sine and cosine (YaRN's attention factor); 1 for most. */
  readonly scale: number;
  /** T; the token in row b * T + t is at position `positions[b] + t`. */
  readonly length: number;
  /** (B * T, nHead * headDim) */
  readonly y: Tensor;
}

/**
 * Rotates pairs of columns of each head by position · frequency.
 * Source: Su et al. 2021 (arXiv:2104.09864) §3.2.2.
 */
export function rope(
  k: Recorder,
  operands: Omit<RopeOperands, "y" | "length" | "offset" | "scale"> & {
    readonly offset?: number;
    readonly scale?: number;
  },
): Tensor {
  const { x, frequencies, headDim, offset = 0, scale = 1, pairs } = operands;
  const rotaryDim = 2 * frequencies.cols;
  if (
    frequencies.rows !== 1 ||
    x.rows !== k.batch * k.length ||
    x.cols % headDim !== 0 ||
    offset < 0 ||
    offset + rotaryDim > headDim
  ) {
    throw new KernelError(
      "shape",
      `rope: ${rotaryDim} columns from ${offset} in heads of ${headDim} do not fit x of (${x.rows}, ${x.cols})`,
    );
  }
  const y = k.temporary(x.rows, x.cols);
  k.record(ropeOp, {
    x,
    frequencies,
    headDim,
    offset,
    pairs,
    scale,
    length: k.length,
    y,
  } satisfies RopeOperands & Record<string, unknown>);
  return y;
}
