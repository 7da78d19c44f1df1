/**
 * Compressed convolutional attention: attention in a narrow space, whose queries and keys go through two causal
 * convolutions and keep a mean of themselves, and half of whose values are a token late. Source: Figliolia et al. 2025
 * (arXiv:2510.04476), [1] §3; transformers `modeling_zaya.py`.
 */
import { attention, attentionSlots } from "../../../kernels/ops/attention/attention.ts";
import { blockLinear } from "../../../kernels/ops/block-linear/block-linear.ts";
import { causalConv1d } from "../../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { rope } from "../../../kernels/ops/rope/rope.ts";
import { scaledAdd } from "../../../kernels/ops/scaled-add/scaled-add.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { columns, reshape } from "../../../kernels/spec/views.ts";
import { requireGeometry } from "../architecture.ts";
import type { WeightLoader } from "../weight-loader.ts";
import type { RotationWeights } from "./attention.ts";

export interface CcaShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
  /** Taps of the first convolution, a channel by itself. */
  readonly depthwiseTaps: number;
  /** Taps of the second, a head by itself. */
  readonly groupedTaps: number;
  /** Of the projections; the convolutions have theirs in any case. */
  readonly bias: boolean;
  /** A token sees itself and the `window - 1` before it; null: all before it. */
  readonly window: number | null;
}

interface Projection {
  readonly weight: Weight;
  readonly bias: Weight | null;
}

export interface CcaWeights {
  readonly q: Projection; //            (dQ, dModel), dQ = nHead * headDim
  readonly k: Projection; //            (dKv, dModel), dKv = nKvHead * headDim
  readonly value: Projection; //        (dKv / 2, dModel)
  readonly delayedValue: Projection; // (dKv / 2, dModel)
  readonly depthwise: Weight; //        (dQ + dKv, depthwiseTaps)
  readonly depthwiseBias: Weight; //    (1, dQ + dKv)
  /** (dQ + dKv, headDim), a tap each, oldest first. */
  readonly grouped: readonly Weight[];
  readonly groupedBias: Weight; //      (1, dQ + dKv)
  readonly temperature: Weight; //      (1, nKvHead)
  readonly delay: Weight; //            (dQ + dKv, 2): 1, 0
  readonly valueDelay: Weight; //       (dKv / 2, 2): 1, 0
  readonly out: Projection; //          (dModel, dQ)
}

/** Smallest length of a query or key that is divided by: f32's epsilon. */
const SHORTEST = 2 ** -23;

/**
 * One attention layer: (B * T, dModel) → (B * T, dModel).
 * @param slot the layer's first, as `ccaSlots` lays them out
 */
export function ccaLayer(
  k: Recorder,
  c: CcaShape,
  w: CcaWeights,
  rotation: RotationWeights | null,
  slot: number,
  x: Tensor,
): Tensor {
  const { nHead, nKvHead, headDim, window } = c;
  const dQ = nHead * headDim;
  const dKv = nKvHead * headDim;
  const rawQ = linear(k, x, w.q.weight, { bias: w.q.bias }); // (B * T, dQ)
  const rawK = linear(k, x, w.k.weight, { bias: w.k.bias }); // (B * T, dKv)
  const mixed = convolutions(k, c, w, slot, rawQ, rawK); // (B * T, dQ + dKv)
  const means = headMeans(k, c, rawQ, rawK);
  const q = scaledAdd(k, { a: columns(mixed, 0, dQ), b: means.q }); // (B * T, dQ)
  const keys = scaledAdd(k, { a: columns(mixed, dQ, dKv), b: means.k }); // (B * T, dKv)

  // Each head to length √headDim. [1] §3.3
  const eps = SHORTEST ** 2 / headDim;
  const toLength = (heads: Tensor): Tensor =>
    rmsNorm(k, { x: heads, weight: null, eps, groupSize: headDim });
  const turn = (heads: Tensor): Tensor =>
    rotation === null ? heads : rope(k, { x: heads, headDim, ...rotation });
  const temperatures = scaledAdd(k, {
    a: columns(rawK, 0, nKvHead),
    aScale: 0,
    bias: w.temperature,
  }); // (B * T, nKvHead)
  const heated = gate(k, { a: temperatures, b: toLength(keys), act: "identity" }); // (B * T, dKv)

  const first = slot + convolutionSlots(c);
  // (B * T, dQ)
  const y = attention(k, {
    q: turn(toLength(q)),
    k: turn(heated),
    v: values(k, w, k.state(first), x),
    keys: k.state(first + 1),
    values: k.state(first + 2),
    nHead,
    nKvHead,
    headDimK: headDim,
    headDimV: headDim,
    scale: headDim ** -0.5,
    window,
  });
  return linear(k, y, w.out.weight, { bias: w.out.bias }); // (B * T, dModel)
}

/**
 * q and k through both convolutions. What lies before the first token is 0 for the first convolution, so its bias for
 * the second: the delayed inputs of the second are kept without the bias, which is added behind the delay. [1] §3.2
 */
function convolutions(
  k: Recorder,
  c: CcaShape,
  w: CcaWeights,
  slot: number,
  rawQ: Tensor,
  rawK: Tensor,
): Tensor {
  const width = rawQ.cols + rawK.cols;
  const qk = k.temporary(rawQ.rows, width); // (B * T, dQ + dKv)
  scaledAdd(k, { a: rawQ, into: columns(qk, 0, rawQ.cols) });
  scaledAdd(k, { a: rawK, into: columns(qk, rawQ.cols, rawK.cols) });
  const conv = { bias: null, silu: false } as const;
  let delayed = causalConv1d(k, { ...conv, x: qk, weight: w.depthwise, state: k.state(slot) });
  let sum: Tensor | null = null;
  for (const [delay, weight] of w.grouped.toReversed().entries()) {
    if (delay > 0) {
      const state = k.state(slot + delay);
      delayed = causalConv1d(k, { ...conv, x: delayed, weight: w.delay, state });
    }
    const product = blockLinear(k, {
      x: scaledAdd(k, { a: delayed, bias: w.depthwiseBias }),
      weight,
      bias: sum === null ? w.groupedBias : null,
      nBlock: c.nHead + c.nKvHead,
    }); // (B * T, dQ + dKv)
    sum = sum === null ? product : scaledAdd(k, { a: sum, b: product });
  }
  return sum ?? qk;
}

/** q: the mean of each query head and its key head; k: the mean of those over the queries of a key head. [1] §3.2 */
function headMeans(
  k: Recorder,
  { nHead, nKvHead, headDim }: CcaShape,
  rawQ: Tensor,
  rawK: Tensor,
): { readonly q: Tensor; readonly k: Tensor } {
  const perGroup = nHead / nKvHead;
  const q = k.temporary(rawQ.rows, rawQ.cols);
  // One row a key head: its `perGroup` query heads, side by side.
  const groups = reshape(rawQ, perGroup * headDim); // (B * T * nKvHead, perGroup * headDim)
  const means = reshape(q, perGroup * headDim);
  const keys = reshape(rawK, headDim); // (B * T * nKvHead, headDim)
  let sum: Tensor | null = null;
  for (let i = 0; i < perGroup; i++) {
    const mean = scaledAdd(k, {
      a: columns(groups, i * headDim, headDim),
      aScale: 0.5,
      b: keys,
      bScale: 0.5,
      into: columns(means, i * headDim, headDim),
    }); // (B * T * nKvHead, headDim)
    const aScale = 1 / perGroup;
    sum =
      sum === null ? scaledAdd(k, { a: mean, aScale }) : scaledAdd(k, { a: mean, aScale, b: sum });
  }
  return { q, k: reshape(sum ?? rawK, rawK.cols) };
}

/** Half of the columns from this token, half from the one before it. [1] §3.2 */
function values(k: Recorder, w: CcaWeights, state: Tensor, x: Tensor): Tensor {
  const half = w.value.weight.rows;
  const v = k.temporary(x.rows, 2 * half); // (B * T, dKv)
  linear(k, x, w.value.weight, { bias: w.value.bias, into: columns(v, 0, half) });
  // The token before the first is 0, and so its value the bias: it is added behind the delay.
  const late = causalConv1d(k, {
    x: linear(k, x, w.delayedValue.weight),
    weight: w.valueDelay,
    bias: w.delayedValue.bias,
    state,
    silu: false,
  }); // (B * T, dKv / 2)
  scaledAdd(k, { a: late, into: columns(v, half, half) });
  return v;
}

/** Inputs of the first convolution, one slot a delay of the second, the late value, keys, values. */
export function ccaSlots(prefix: string, c: CcaShape): readonly StateSlot[] {
  const { nHead, nKvHead, headDim, window } = c;
  const width = (nHead + nKvHead) * headDim;
  return [
    { name: `${prefix}.conv`, shape: [width, c.depthwiseTaps - 1] },
    ...Array.from({ length: c.groupedTaps - 1 }, (_, i) => ({
      name: `${prefix}.delayed${i + 1}`,
      shape: [width],
    })),
    { name: `${prefix}.recurrent`, shape: [(nKvHead * headDim) / 2] },
    ...attentionSlots(prefix, { nKvHead, headDimK: headDim, headDimV: headDim, window }),
  ];
}

/** Slots before that of the late value. */
function convolutionSlots(c: CcaShape): number {
  return c.groupedTaps;
}

/**
 * @param at the layer's prefix
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadCca(from: WeightLoader, at: string, c: CcaShape): Promise<CcaWeights> {
  const { dModel, nHead, nKvHead, headDim, groupedTaps } = c;
  const dQ = nHead * headDim;
  const dKv = nKvHead * headDim;
  const width = dQ + dKv;
  const project = async (name: string, rows: number, cols: number): Promise<Projection> => ({
    weight: await from.matrix(`${at}${name}.weight`, rows, cols),
    bias: c.bias ? await from.vector(`${at}${name}.bias`, 1, rows) : null,
  });
  const grouped: Weight[] = [];
  const name = `${at}qkv_proj.conv_qk_grouped`;
  for (let tap = 0; tap < groupedTaps; tap++)
    grouped.push(await from.transposed(`${name}.weight`, width, groupedTaps, headDim, tap));
  return {
    grouped,
    groupedBias: await from.vector(`${name}.bias`, 1, width),
    q: await project("qkv_proj.q_proj", dQ, dModel),
    k: await project("qkv_proj.k_proj", dKv, dModel),
    value: await project("qkv_proj.v_proj_current", dKv / 2, dModel),
    delayedValue: await project("qkv_proj.v_proj_delayed", dKv / 2, dModel),
    depthwise: await from.vector(`${at}qkv_proj.conv_qk_depthwise.weight`, width, c.depthwiseTaps),
    depthwiseBias: await from.vector(`${at}qkv_proj.conv_qk_depthwise.bias`, 1, width),
    temperature: await from.vector(`${at}qk_norm.temp`, 1, nKvHead),
    delay: await from.constant("delay", width, 2, oneThenZero(width)),
    valueDelay: await from.constant("value delay", dKv / 2, 2, oneThenZero(dKv / 2)),
    out: await project("o_proj", dModel, dQ),
  };
}

/** Taps that give the token before. */
function oneThenZero(channels: number): Float32Array {
  return Float32Array.from({ length: 2 * channels }, (_, i) => (i % 2 === 0 ? 1 : 0));
}

/** @throws WeightsError `malformed` for dimensions that contradict each other */
export function requireCca(c: CcaShape): void {
  const { nHead, nKvHead, headDim, depthwiseTaps } = c;
  requireGeometry(
    nHead % nKvHead === 0,
    `${nKvHead} key heads do not divide ${nHead} attention heads`,
  );
  requireGeometry(
    (nKvHead * headDim) % 2 === 0,
    `${nKvHead * headDim} columns of values in halves`,
  );
  requireGeometry(depthwiseTaps >= 2, `a convolution of ${depthwiseTaps} taps has no state`);
}
