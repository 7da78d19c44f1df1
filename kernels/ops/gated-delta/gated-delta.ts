import { KernelError } from "../../spec/errors.ts";
import type { OpDeclaration, Recorder } from "../../spec/op.ts";
import type { Tensor, Weight } from "../../spec/tensor.ts";
import { expectShape } from "../../spec/views.ts";

export const gatedDeltaOp = {
  name: "gated-delta",
  access: {
    q: "read",
    k: "read",
    v: "read",
    dtRaw: "read",
    betaRaw: "read",
    state: "update",
    y: "write",
  },
} as const satisfies OpDeclaration;

export interface GatedDeltaOperands {
  /** (B * T, nKeyHead * headDimK), of L2 norm 1 a head. */
  readonly q: Tensor;
  /** (B * T, nKeyHead * headDimK), of L2 norm 1 a head. */
  readonly k: Tensor;
  /** (B * T, nValueHead * headDimV) */
  readonly v: Tensor;
  /**
   * (B * T, nValueHead), one decay a head; or (B * T, nValueHead * headDimK), one for each channel of the key (Kimi). Before
   * bias and softplus.
   */
  readonly dtRaw: Tensor;
  /** (1, columns of dtRaw) */
  readonly dtBias: Weight;
  /** (1, nValueHead), negative: A = −exp(ALog). */
  readonly A: Weight;
  /** (B * T, nValueHead), before the sigmoid. */
  readonly betaRaw: Tensor;
  /** Multiplies σ(betaRaw): 1, or 2 where eigenvalues of the transition may be negative (arXiv:2411.12537). */
  readonly betaScale: number;
  readonly nKeyHead: number;
  readonly nValueHead: number;
  /**
   * The key head that value head h reads. `grouped`: floor(h · nKeyHead / nValueHead), as in Hugging Face's files. `tiled`:
   * h mod nKeyHead, as in llama.cpp's.
   */
  readonly keyHeads: "grouped" | "tiled";
  readonly headDimK: number;
  readonly headDimV: number;
  /** Multiplies q. */
  readonly scale: number;
  /** S, (B, nValueHead * headDimK * headDimV). Read, then replaced. */
  readonly state: Tensor;
  /** T */
  readonly length: number;
  /** (B * T, nValueHead * headDimV) */
  readonly y: Tensor;
}

/**
 * The gated delta rule: a memory S of (headDimK, headDimV) a head in which each key's value is corrected, not added to.
 *   α[t] = exp(A softplus(dtRaw[t] + dtBias)), β[t] = betaScale · σ(betaRaw[t])
 *   S[t] = (I − β[t] k[t] k[t]ᵀ) diag(α[t]) S[t−1] + β[t] k[t] v[t]ᵀ
 *   y[t] = scale · S[t]ᵀ q[t]
 * Source: Yang et al. 2024 (arXiv:2412.06464) eq. 10; with α for each channel Kimi Delta Attention (arXiv:2510.26692) eq. 1.
 */
export function gatedDelta(
  k: Recorder,
  operands: Omit<GatedDeltaOperands, "y" | "length">,
): Tensor {
  const { nKeyHead, nValueHead, headDimK, headDimV, dtRaw } = operands;
  const rows = k.batch * k.length;
  if (nKeyHead < 1 || nValueHead % nKeyHead !== 0) {
    throw new KernelError(
      "shape",
      `gated-delta: ${nKeyHead} key heads do not divide ${nValueHead} value heads`,
    );
  }
  const decays = dtRaw.cols === nValueHead ? nValueHead : nValueHead * headDimK;
  expectShape("gated-delta", "q", operands.q, rows, nKeyHead * headDimK);
  expectShape("gated-delta", "k", operands.k, rows, nKeyHead * headDimK);
  expectShape("gated-delta", "v", operands.v, rows, nValueHead * headDimV);
  expectShape("gated-delta", "dtRaw", dtRaw, rows, decays);
  expectShape("gated-delta", "dtBias", operands.dtBias, 1, decays);
  expectShape("gated-delta", "A", operands.A, 1, nValueHead);
  expectShape("gated-delta", "betaRaw", operands.betaRaw, rows, nValueHead);
  expectShape("gated-delta", "state", operands.state, k.batch, nValueHead * headDimK * headDimV);
  const y = k.temporary(rows, nValueHead * headDimV);
  k.record(gatedDeltaOp, {
    ...operands,
    length: k.length,
    y,
  } satisfies GatedDeltaOperands & Record<string, unknown>);
  return y;
}
