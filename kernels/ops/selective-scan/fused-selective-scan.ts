import type { Tensor, Weight } from "../../spec/tensor.ts";
import type { SelectiveScanOperands } from "./selective-scan.ts";

/**
 * A step of `selective-scan` (T = 1) with dt's projection and the norms of dt, B and C before it. No architecture records
 * it: a backend that has a kernel for it puts it in the place of the ops it stands for.
 */
export interface FusedSelectiveScanOperands extends Omit<SelectiveScanOperands, "dtRaw"> {
  /** (B, dInner), or null where `dtLow` is given: then it is n(dtLow) · dtWeightᵀ. */
  readonly dtRaw: Tensor | null;
  /** (B, dtRank) */
  readonly dtLow: Tensor | null;
  /** (dInner, dtRank), packed. */
  readonly dtWeight: Weight | null;
  /** Whether n is an rms-norm, and B and C go through one; its weights are (1, dtRank) and (1, dState), or null. */
  readonly normed: boolean;
  readonly dtNorm: Weight | null;
  readonly bNorm: Weight | null;
  readonly cNorm: Weight | null;
  readonly eps: number;
}
