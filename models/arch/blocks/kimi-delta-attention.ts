/**
 * Kimi Delta Attention: the gated delta rule with a decay for each channel of the key, its decay and its output gate made by
 * projections of low rank. Source: Kimi Linear (arXiv:2510.26692) §3, §4; transformers `modeling_kimi_linear.py`.
 */
import { gatedDelta } from "../../../kernels/ops/gated-delta/gated-delta.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { columns, split } from "../../../kernels/spec/views.ts";
import type { WeightLoader } from "../weight-loader.ts";
import { convolve, negativeExp, QK_EPS } from "./gated-delta-net.ts";

export interface KimiDeltaShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly dConv: number;
  /** Of the convolution's outputs. */
  readonly act: Activation;
  /** Of the norm before the output gate. */
  readonly eps: number;
}

export interface KimiDeltaWeights {
  readonly q: Weight; //        (dInner, dModel)
  readonly k: Weight; //        (dInner, dModel)
  readonly v: Weight; //        (dInner, dModel)
  readonly conv: Weight; //     (3 * dInner, dConv): q, k, v
  readonly down: Weight; //     (2 * headDim + nHead, dModel): dt's and the gate's first factors, β
  readonly dtUp: Weight; //     (dInner, headDim)
  readonly dtBias: Weight; //   (1, dInner)
  readonly A: Weight; //        (1, nHead), negative
  readonly gateUp: Weight; //   (dInner, headDim)
  readonly norm: Weight; //     (1, headDim), the same for all heads
  readonly out: Weight; //      (dModel, dInner)
}

/** (B * T, dModel) → (B * T, dModel), plus the residual. */
export function kimiDeltaAttention(
  k: Recorder,
  c: KimiDeltaShape,
  w: KimiDeltaWeights,
  slots: { readonly conv: Tensor; readonly recurrent: Tensor },
  x: Tensor,
  residual: Tensor,
): Tensor {
  const { nHead, headDim } = c;
  const dInner = nHead * headDim;
  // dt's factor, the gate's factor, β: (B * T, headDim) × 2, (B * T, nHead)
  const [dtDown, gateDown, betaRaw] = split(linear(k, x, w.down), [headDim, headDim, nHead]);
  const z = linear(k, gateDown, w.gateUp); // (B * T, dInner)
  const dtRaw = linear(k, dtDown, w.dtUp); // (B * T, dInner)
  const projected = k.temporary(x.rows, 3 * dInner);
  for (const [i, weight] of [w.q, w.k, w.v].entries())
    linear(k, x, weight, { into: columns(projected, i * dInner, dInner) });
  const conv = convolve(k, projected, w.conv, slots.conv, c.act); // (B * T, 3 * dInner)
  const [qkRaw, v] = split(conv, [2 * dInner, dInner]); // (B * T, 2 * dInner), (B * T, dInner)
  const qk = rmsNorm(k, { x: qkRaw, weight: null, eps: QK_EPS, groupSize: headDim, over: "sum" });
  const [q, keys] = split(qk, [dInner, dInner]); // (B * T, dInner) × 2
  // (B * T, dInner)  arXiv:2510.26692 eq. 1
  const y = gatedDelta(k, {
    q,
    k: keys,
    v,
    dtRaw,
    dtBias: w.dtBias,
    A: w.A,
    betaRaw,
    betaScale: 1,
    nKeyHead: nHead,
    nValueHead: nHead,
    keyHeads: "grouped",
    headDimK: headDim,
    headDimV: headDim,
    scale: 1 / Math.sqrt(headDim),
    state: slots.recurrent,
  });
  const normed = rmsNorm(k, { x: y, weight: w.norm, eps: c.eps, groupSize: headDim }); // (B * T, dInner)
  const gated = gate(k, { a: z, b: normed, act: "sigmoid" }); // (B * T, dInner)
  return linear(k, gated, w.out, { residual }); // (B * T, dModel)
}

/** The convolution's last inputs, then the memory. */
export function kimiDeltaSlots(
  prefix: string,
  { nHead, headDim, dConv }: KimiDeltaShape,
): readonly StateSlot[] {
  return [
    { name: `${prefix}.conv`, shape: [3 * nHead * headDim, dConv - 1] },
    { name: `${prefix}.recurrent`, shape: [nHead, headDim, headDim] },
  ];
}

const NAMES = {
  safetensors: {
    q: "self_attn.q_proj.weight",
    k: "self_attn.k_proj.weight",
    v: "self_attn.v_proj.weight",
    conv: ["self_attn.q_conv1d.weight", "self_attn.k_conv1d.weight", "self_attn.v_conv1d.weight"],
    down: ["self_attn.f_a_proj.weight", "self_attn.g_a_proj.weight", "self_attn.b_proj.weight"],
    dtUp: "self_attn.f_b_proj.weight",
    dtBias: "self_attn.dt_bias",
    A: "self_attn.A_log",
    gateUp: "self_attn.g_b_proj.weight",
    norm: "self_attn.o_norm.weight",
    out: "self_attn.o_proj.weight",
  },
  gguf: {
    q: "attn_q.weight",
    k: "attn_k.weight",
    v: "attn_v.weight",
    conv: ["ssm_conv1d_q.weight", "ssm_conv1d_k.weight", "ssm_conv1d_v.weight"],
    down: ["ssm_f_a.weight", "ssm_g_a.weight", "ssm_beta.weight"],
    dtUp: "ssm_f_b.weight",
    dtBias: "ssm_dt.bias",
    A: "ssm_a",
    gateUp: "ssm_g_b.weight",
    norm: "ssm_norm.weight",
    out: "attn_output.weight",
  },
} as const;

/**
 * @param at the layer's prefix
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadKimiDelta(
  from: WeightLoader,
  at: string,
  c: KimiDeltaShape,
): Promise<KimiDeltaWeights> {
  const { dModel, nHead, headDim, dConv } = c;
  const dInner = nHead * headDim;
  const name = NAMES[from.format];
  return {
    q: await from.matrix(at + name.q, dInner, dModel),
    k: await from.matrix(at + name.k, dInner, dModel),
    v: await from.matrix(at + name.v, dInner, dModel),
    conv: await from.vector(
      name.conv.map((tensor) => ({ name: at + tensor, rows: dInner })),
      3 * dInner,
      dConv,
    ),
    down: await from.matrix(
      name.down.map((tensor, i) => ({ name: at + tensor, rows: i < 2 ? headDim : nHead })),
      2 * headDim + nHead,
      dModel,
    ),
    dtUp: await from.matrix(at + name.dtUp, dInner, headDim),
    dtBias: await from.vector(at + name.dtBias, 1, dInner),
    A: await from.vector(at + name.A, 1, nHead, negativeExp(from.format)),
    gateUp: await from.matrix(at + name.gateUp, dInner, headDim),
    norm: await from.vector(at + name.norm, 1, headDim),
    out: await from.matrix(at + name.out, dModel, dInner),
  };
}
