/**
 * Gated DeltaNet as a layer's mixer. Source: Yang et al. 2024 (arXiv:2412.06464) §3.4, fig. 1; transformers
 * `modeling_qwen3_next.py`, `modeling_qwen3_5.py`, `modeling_olmo_hybrid.py`, whose mixers differ only in how their files
 * keep the projections.
 */
import { activation } from "../../../kernels/ops/activation/activation.ts";
import { causalConv1d } from "../../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import {
  gatedDelta,
  type GatedDeltaOperands,
} from "../../../kernels/ops/gated-delta/gated-delta.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { split } from "../../../kernels/spec/views.ts";
import { requireGeometry } from "../architecture.ts";
import type { MatrixParts } from "../matrix-parts.ts";
import type { WeightLoader } from "../weight-loader.ts";

export interface DeltaNetShape {
  readonly dModel: number;
  readonly nKeyHead: number;
  readonly nValueHead: number;
  readonly headDimK: number;
  readonly headDimV: number;
  readonly dConv: number;
  /** Of the convolution's outputs. */
  readonly act: Activation;
  /** Of the norm before the output gate. */
  readonly eps: number;
  /** Multiplies β; 2 where eigenvalues may be negative. */
  readonly betaScale: number;
  /** How value heads lie: beside those of the same key head, or one of each key head in turn. */
  readonly keyHeads: GatedDeltaOperands["keyHeads"];
}

export interface DeltaNetWeights {
  readonly qkv: Weight; //   (2 * keyDim + valueDim, dModel): q, k, v
  readonly z: Weight; //     (valueDim, dModel): the output gate
  readonly ba: Weight; //    (2 * nValueHead, dModel): β, dt
  readonly conv: Weight; //  (2 * keyDim + valueDim, dConv): q, k, v
  readonly dtBias: Weight; //(1, nValueHead)
  readonly A: Weight; //     (1, nValueHead), negative
  readonly norm: Weight; //  (1, headDimV), the same for all heads
  readonly out: Weight; //   (dModel, valueDim)
}

/** Of the L2 norm of queries and keys: within the root, added to the sum of squares. */
export const QK_EPS = 1e-6;

/** nKeyHead * headDimK */
export function keyDimOf({ nKeyHead, headDimK }: DeltaNetShape): number {
  return nKeyHead * headDimK;
}

/** nValueHead * headDimV */
export function valueDimOf({ nValueHead, headDimV }: DeltaNetShape): number {
  return nValueHead * headDimV;
}

/** (B * T, dModel) → (B * T, dModel), plus the residual. */
export function gatedDeltaNet(
  k: Recorder,
  c: DeltaNetShape,
  w: DeltaNetWeights,
  slots: { readonly conv: Tensor; readonly recurrent: Tensor },
  x: Tensor,
  residual: Tensor,
): Tensor {
  const { nKeyHead, nValueHead, headDimK, headDimV, betaScale, keyHeads } = c;
  const keyDim = keyDimOf(c);
  const valueDim = valueDimOf(c);
  const z = linear(k, x, w.z); // (B * T, valueDim)
  const [betaRaw, dtRaw] = split(linear(k, x, w.ba), [nValueHead, nValueHead]); // (B * T, nValueHead) × 2
  // (B * T, 2 * keyDim + valueDim)
  const conv = convolve(k, linear(k, x, w.qkv), w.conv, slots.conv, c.act);
  const [qkRaw, v] = split(conv, [2 * keyDim, valueDim]); // (B * T, 2 * keyDim), (B * T, valueDim)
  const qk = rmsNorm(k, { x: qkRaw, weight: null, eps: QK_EPS, groupSize: headDimK, over: "sum" });
  const [q, keys] = split(qk, [keyDim, keyDim]); // (B * T, keyDim) × 2
  // (B * T, valueDim)  arXiv:2412.06464 eq. 10
  const y = gatedDelta(k, {
    q,
    k: keys,
    v,
    dtRaw,
    dtBias: w.dtBias,
    A: w.A,
    betaRaw,
    betaScale,
    nKeyHead,
    nValueHead,
    keyHeads,
    headDimK,
    headDimV,
    scale: 1 / Math.sqrt(headDimK),
    state: slots.recurrent,
  });
  // The norm comes before the gate here, unlike Mamba-2's.
  const normed = rmsNorm(k, { x: y, weight: w.norm, eps: c.eps, groupSize: headDimV }); // (B * T, valueDim)
  const gated = gate(k, { a: z, b: normed, act: "silu" }); // (B * T, valueDim)
  return linear(k, gated, w.out, { residual }); // (B * T, dModel)
}

/** A causal convolution with any activation behind it: (B * T, channels) → the same. */
export function convolve(
  k: Recorder,
  x: Tensor,
  weight: Weight,
  state: Tensor,
  act: Activation,
): Tensor {
  const y = causalConv1d(k, { x, weight, bias: null, state, silu: act === "silu" });
  return act === "silu" ? y : activation(k, y, act);
}

/** The convolution's last inputs, then the memory. */
export function deltaNetSlots(
  prefix: string,
  c: DeltaNetShape,
): readonly [conv: StateSlot, recurrent: StateSlot] {
  return [
    { name: `${prefix}.conv`, shape: [2 * keyDimOf(c) + valueDimOf(c), c.dConv - 1] },
    { name: `${prefix}.recurrent`, shape: [c.nValueHead, c.headDimK, c.headDimV] },
  ];
}

/** Where a file keeps the tensors, under their full names. */
export interface DeltaNetNames {
  readonly qkv: MatrixParts;
  readonly z: MatrixParts;
  readonly ba: MatrixParts;
  readonly conv: string | readonly string[];
  readonly dtBias: string;
  readonly A: string;
  readonly norm: string;
  readonly out: MatrixParts;
  /** The value head of the file that becomes value head `head`, for the tables; the matrices' parts say it themselves. */
  readonly storedHead?: (head: number) => number;
}

/** @throws WeightsError `missing`, `mismatch` */
export async function loadDeltaNet(
  from: WeightLoader,
  name: DeltaNetNames,
  c: DeltaNetShape,
): Promise<DeltaNetWeights> {
  const { dModel, nValueHead, headDimV, dConv } = c;
  const keys = 2 * keyDimOf(c);
  const valueDim = valueDimOf(c);
  const { storedHead } = name;
  const valueRow = storedHead && headRows(headDimV, storedHead);
  // The values' channels come behind those of queries and keys.
  const convOrder =
    valueRow &&
    ((index: number): number => {
      const channel = Math.floor(index / dConv);
      return channel < keys
        ? index
        : (keys + valueRow(channel - keys)) * dConv + (index - channel * dConv);
    });
  return {
    qkv: await from.matrix(name.qkv, keys + valueDim, dModel),
    z: await from.matrix(name.z, valueDim, dModel),
    ba: await from.matrix(name.ba, 2 * nValueHead, dModel),
    conv: await from.vector(name.conv, keys + valueDim, dConv, undefined, convOrder),
    dtBias: await from.vector(name.dtBias, 1, nValueHead, undefined, storedHead),
    A: await from.vector(name.A, 1, nValueHead, negativeExp(from.format), storedHead),
    norm: await from.vector(name.norm, 1, headDimV),
    out: await from.matrix(name.out, dModel, valueDim),
  };
}

/** Hugging Face stores log(−A), GGUF stores A. */
export function negativeExp(
  format: WeightLoader["format"],
): ((stored: number) => number) | undefined {
  return format === "gguf" ? undefined : (ALog) => -Math.exp(ALog);
}

/** The order of the rows (or columns) of heads that lie in another order. */
export function headRows(
  headDim: number,
  storedHead: (head: number) => number,
): (row: number) => number {
  return (row) => storedHead(Math.floor(row / headDim)) * headDim + (row % headDim);
}

/** @throws WeightsError `malformed` if the dimensions contradict each other */
export function requireDeltaNet({ nKeyHead, nValueHead, dConv }: DeltaNetShape): void {
  requireGeometry(
    nValueHead % nKeyHead === 0,
    `${nKeyHead} key heads do not divide ${nValueHead} value heads of the linear attention`,
  );
  requireGeometry(dConv >= 2, `a convolution of ${dConv} taps has no state`);
}
