/**
 * LFM2's gated short convolution. Source: LFM2 Technical Report (arXiv:2511.23404) §2; transformers `modeling_lfm2.py`; for
 * GGUF names llama.cpp.
 */
import { causalConv1d } from "../../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { split } from "../../../kernels/spec/views.ts";
import type { WeightLoader } from "../weight-loader.ts";

export interface ShortConvShape {
  readonly dModel: number;
  /** Taps. */
  readonly dConv: number;
  /** Of both projections and the convolution. */
  readonly bias: boolean;
}

export interface ShortConvWeights {
  readonly inProj: Weight; //          (3 * dModel, dModel): B, C, x
  readonly inBias: Weight | null; //   (1, 3 * dModel)
  readonly conv: Weight; //            (dModel, dConv)
  readonly convBias: Weight | null; // (1, dModel)
  readonly outProj: Weight; //         (dModel, dModel)
  readonly outBias: Weight | null; //  (1, dModel)
}

/**
 * (C ⊙ conv(B ⊙ x)) Wᵀ + residual: (B * T, dModel) → (B * T, dModel). No activation anywhere.
 * @param state as `shortConvSlot` lays it out
 */
export function shortConv(
  k: Recorder,
  w: ShortConvWeights,
  state: Tensor,
  x: Tensor,
  options: { readonly residual?: Tensor | null } = {},
): Tensor {
  const dModel = w.conv.rows;
  // (B * T, dModel) × 3
  const [B, C, u] = split(linear(k, x, w.inProj, { bias: w.inBias }), [dModel, dModel, dModel]);
  const gated = gate(k, { a: B, b: u, act: "identity" }); // (B * T, dModel)
  // (B * T, dModel)
  const conv = causalConv1d(k, { x: gated, weight: w.conv, bias: w.convBias, state, silu: false });
  const y = gate(k, { a: C, b: conv, act: "identity" }); // (B * T, dModel)
  return linear(k, y, w.outProj, { bias: w.outBias, residual: options.residual ?? null });
}

/** The last dConv − 1 products B ⊙ x. */
export function shortConvSlot(prefix: string, c: ShortConvShape): StateSlot {
  return { name: `${prefix}.conv`, shape: [c.dModel, c.dConv - 1] };
}

/** What the files call the tensors, without `.weight` and `.bias`. */
const NAMES = {
  safetensors: { inProj: "conv.in_proj", conv: "conv.conv", outProj: "conv.out_proj" },
  gguf: { inProj: "shortconv.in_proj", conv: "shortconv.conv", outProj: "shortconv.out_proj" },
} as const;

/**
 * @param at the layer's prefix
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadShortConv(
  from: WeightLoader,
  at: string,
  { dModel, dConv, bias }: ShortConvShape,
): Promise<ShortConvWeights> {
  const names = NAMES[from.format];
  const biasOf = async (name: string, cols: number): Promise<Weight | null> =>
    bias ? from.vector(`${at}${name}.bias`, 1, cols) : null;
  return {
    inProj: await from.matrix(`${at}${names.inProj}.weight`, 3 * dModel, dModel),
    inBias: await biasOf(names.inProj, 3 * dModel),
    conv: await from.vector(`${at}${names.conv}.weight`, dModel, dConv),
    convBias: await biasOf(names.conv, dModel),
    outProj: await from.matrix(`${at}${names.outProj}.weight`, dModel, dModel),
    outBias: await biasOf(names.outProj, dModel),
  };
}
