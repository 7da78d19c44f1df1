import type { Activation } from "../../spec/activations.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import type { LinearOperands } from "./linear.ts";

/**
 * `linear` with what stands before and behind it in a step of decode. No architecture records it: a backend that has a
 * kernel for it puts it in the place of the ops it stands for (kernels/backends/webgpu/fuse.ts).
 *
 * y = gain · act(scale · (n Wᵀ + bias)) + residualScale · residual, where n is x, or made of x by `norm` and `gate`.
 */
export interface FusedLinearOperands extends LinearOperands, Prologue {
  readonly scale: number;
  readonly act: Activation;
  readonly gain: number;
  readonly residualScale: number;
  /**
   * Some rows of W are the channels of a step of causal-conv1d (T = 1); y is then not written there. Null for none, as
   * are all of the following.
   */
  readonly conv: Tensor | null;
  /** The first of those rows. */
  readonly convFirst: number;
  /** (channels, dConv) */
  readonly convWeight: Weight | null;
  /** (1, channels), or null. */
  readonly convBias: Weight | null;
  /** (B, channels * (dConv - 1)) */
  readonly convState: Tensor | null;
  readonly convSilu: boolean;
}

/** What stands before a product: n of x. */
export interface Prologue {
  /** rms-norm over all columns of x (`x`), or of act(z) · x (`gated`); or null. */
  readonly norm: "x" | "gated" | null;
  /** (1, K), or null. */
  readonly normWeight: Weight | null;
  readonly eps: number;
  /** What the squares are added up to: their mean, or their sum. */
  readonly over: "mean" | "sum";
  /** (rows, K), or null: then x, normed or not, is multiplied by gateAct(z). */
  readonly z: Tensor | null;
  readonly gateAct: Activation;
}

/** The norms of prologue.wgsl and few-halves.wgsl. */
export const NORM_CODES = { none: 0, x: 1, gated: 2 } as const;

/** x as it is. */
export const noPrologue: Prologue = {
  norm: null,
  normWeight: null,
  eps: 0,
  over: "sum",
  z: null,
  gateAct: "identity",
};

/** What `linear` alone is as a fused one. */
export function asFused(operands: LinearOperands): FusedLinearOperands {
  return {
    ...operands,
    ...noPrologue,
    scale: 1,
    act: "identity",
    gain: 1,
    residualScale: 1,
    conv: null,
    convFirst: 0,
    convWeight: null,
    convBias: null,
    convState: null,
    convSilu: false,
  };
}
