/**
 * An attention layer as most models have it: projections, norms of queries and keys where there are any, rotation,
 * softmax over the tokens before, projection. Source: Vaswani et al. 2017 (arXiv:1706.03762) §3.2; grouped heads
 * arXiv:2305.13245; rotation arXiv:2104.09864.
 */
import { attention, attentionSlots } from "../../../kernels/ops/attention/attention.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { rope } from "../../../kernels/ops/rope/rope.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { requireGeometry } from "../architecture.ts";
import type { WeightLoader } from "../weight-loader.ts";
import type { Rotation } from "./rope-frequencies.ts";

/** The dimensions of one attention layer. */
export interface AttentionShape {
  /** Columns of the layer's input. */
  readonly dIn: number;
  /** Columns of its output. */
  readonly dOut: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
  /** Multiplies q · k: 1 / sqrt(headDim) in most. */
  readonly scale: number;
  /** c in c · tanh(score / c), or null for none. */
  readonly softCap: number | null;
  /** A token sees itself and the `window - 1` before it; null: all before it. */
  readonly window: number | null;
  /** Of the projections q, k, v. */
  readonly qkvBias: boolean;
  readonly outBias: boolean;
  /**
   * The row of a safetensors file that stands in row `row` of a head's queries and keys; left out: the same. Where
   * llama.cpp turns neighbours and Hugging Face halves, its files hold the rows in this order.
   */
  readonly qkOrder?: (row: number) => number;
  /** RMS norms of queries and keys before they turn: of each head by itself, or across all heads. */
  readonly qkNorm: null | {
    readonly over: "head" | "all";
    readonly eps: number;
    /** What the file's weight stands for: w, or w − 1. */
    readonly map?: (stored: number) => number;
  };
}

/** The shape of attention without biases, norms, window and cap, scaled by 1 / sqrt(headDim); others replace what differs. */
export function plainAttention(c: {
  readonly dModel: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
}): AttentionShape {
  const { dModel, nHead, nKvHead, headDim } = c;
  return {
    dIn: dModel,
    dOut: dModel,
    nHead,
    nKvHead,
    headDim,
    scale: headDim ** -0.5,
    softCap: null,
    window: null,
    qkvBias: false,
    outBias: false,
    qkNorm: null,
  };
}

export interface AttentionWeights {
  readonly q: Weight; //             (nHead * headDim, dIn)
  readonly qBias: Weight | null; //  (1, nHead * headDim)
  readonly k: Weight; //             (nKvHead * headDim, dIn)
  readonly kBias: Weight | null; //  (1, nKvHead * headDim)
  readonly v: Weight; //             (nKvHead * headDim, dIn)
  readonly vBias: Weight | null; //  (1, nKvHead * headDim)
  readonly qNorm: Weight | null; //  (1, headDim or nHead * headDim)
  readonly kNorm: Weight | null; //  (1, headDim or nKvHead * headDim)
  readonly out: Weight; //           (dOut, nHead * headDim)
  readonly outBias: Weight | null; //(1, dOut)
}

/** A model's rotation, on a backend; one for all its layers. */
export interface RotationWeights {
  readonly frequencies: Weight; // (1, rotaryDim / 2)
  readonly scale: number;
  readonly pairs: "halves" | "neighbours";
}

/**
 * One attention layer: (B * T, dIn) → (B * T, dOut).
 * @param rotation null for positions that the layer does not know of
 * @param slots keys and values, as `attentionLayerSlots` lays them out
 */
export function attentionLayer(
  k: Recorder,
  c: AttentionShape,
  w: AttentionWeights,
  rotation: RotationWeights | null,
  slots: { readonly keys: Tensor; readonly values: Tensor },
  x: Tensor,
  options: { readonly residual?: Tensor | null } = {},
): Tensor {
  const { nHead, nKvHead, headDim, scale, softCap, window } = c;
  const turn = (heads: Tensor, norm: Weight | null): Tensor => {
    const normed =
      norm === null || c.qkNorm === null
        ? heads
        : rmsNorm(k, { x: heads, weight: norm, eps: c.qkNorm.eps, groupSize: norm.cols });
    return rotation === null ? normed : rope(k, { x: normed, headDim, ...rotation });
  };
  const q = turn(linear(k, x, w.q, { bias: w.qBias }), w.qNorm); // (B * T, nHead * headDim)
  const keys = turn(linear(k, x, w.k, { bias: w.kBias }), w.kNorm); // (B * T, nKvHead * headDim)
  const v = linear(k, x, w.v, { bias: w.vBias }); // (B * T, nKvHead * headDim)
  // (B * T, nHead * headDim)  arXiv:1706.03762 eq. 1
  const y = attention(k, {
    q,
    k: keys,
    v,
    keys: slots.keys,
    values: slots.values,
    nHead,
    nKvHead,
    headDimK: headDim,
    headDimV: headDim,
    scale,
    softCap,
    window,
  });
  return linear(k, y, w.out, { bias: w.outBias, residual: options.residual ?? null }); // (B * T, dOut)
}

/** Keys, then values. */
export function attentionLayerSlots(prefix: string, c: AttentionShape): readonly StateSlot[] {
  const { nKvHead, headDim, window } = c;
  return attentionSlots(prefix, { nKvHead, headDimK: headDim, headDimV: headDim, window });
}

/** What a file calls the tensors, without `.weight` and `.bias`. */
export interface AttentionNames {
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly out: string;
  readonly qNorm: string;
  readonly kNorm: string;
}

/** The names of most models; others replace what they call otherwise. */
export const ATTENTION_NAMES = {
  safetensors: {
    q: "self_attn.q_proj",
    k: "self_attn.k_proj",
    v: "self_attn.v_proj",
    out: "self_attn.o_proj",
    qNorm: "self_attn.q_norm",
    kNorm: "self_attn.k_norm",
  },
  gguf: {
    q: "attn_q",
    k: "attn_k",
    v: "attn_v",
    out: "attn_output",
    qNorm: "attn_q_norm",
    kNorm: "attn_k_norm",
  },
} as const satisfies Record<WeightLoader["format"], AttentionNames>;

/**
 * @param at the layer's prefix
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadAttention(
  from: WeightLoader,
  at: string,
  names: AttentionNames,
  c: AttentionShape,
): Promise<AttentionWeights> {
  const { dIn, dOut, headDim, qkvBias, outBias, qkNorm } = c;
  const dQ = c.nHead * headDim;
  const dKv = c.nKvHead * headDim;
  const { qkOrder } = c;
  const inHeads =
    qkOrder === undefined || from.format === "gguf"
      ? undefined
      : (row: number): number => row - (row % headDim) + qkOrder(row % headDim);
  const matrix = (name: string, rows: number, order?: typeof inHeads): Promise<Weight> =>
    from.matrix([{ name: `${at}${name}.weight`, ...(order ? { order } : {}) }], rows, dIn);
  const bias = async (
    there: boolean,
    name: string,
    cols: number,
    order?: typeof inHeads,
  ): Promise<Weight | null> =>
    there ? from.vector(`${at}${name}.bias`, 1, cols, undefined, order) : null;
  const norm = async (name: string, width: number): Promise<Weight | null> =>
    qkNorm === null
      ? null
      : from.vector(
          `${at}${name}.weight`,
          1,
          qkNorm.over === "head" ? headDim : width,
          from.format === "gguf" ? undefined : qkNorm.map,
          inHeads,
        );
  return {
    q: await matrix(names.q, dQ, inHeads),
    qBias: await bias(qkvBias, names.q, dQ, inHeads),
    k: await matrix(names.k, dKv, inHeads),
    kBias: await bias(qkvBias, names.k, dKv, inHeads),
    v: await matrix(names.v, dKv),
    vBias: await bias(qkvBias, names.v, dKv),
    qNorm: await norm(names.qNorm, dQ),
    kNorm: await norm(names.kNorm, dKv),
    out: await from.matrix(`${at}${names.out}.weight`, dOut, dQ),
    outBias: await bias(outBias, names.out, dOut),
  };
}

/**
 * The order of a head's rows in which pairs (i, i + rotaryDim / 2) become neighbours (2 i, 2 i + 1); for `qkOrder`.
 */
export function neighbourOrder(rotaryDim: number): (row: number) => number {
  const half = rotaryDim / 2;
  return (row) => (row < rotaryDim ? (row % 2) * half + Math.floor(row / 2) : row);
}

/** Puts a rotation's table onto the backend. */
export async function loadRotation(
  from: WeightLoader,
  { frequencies, scale }: Rotation,
  pairs: RotationWeights["pairs"],
): Promise<RotationWeights> {
  const table = await from.constant("rotary frequencies", 1, frequencies.length, frequencies);
  return { frequencies: table, scale, pairs };
}

/** @throws WeightsError `malformed` if heads do not divide into groups */
export function requireHeads(c: AttentionShape): void {
  requireGeometry(
    Number.isInteger(c.headDim) && c.headDim >= 1,
    `attention heads of ${c.headDim} columns`,
  );
  requireGeometry(
    c.nHead % c.nKvHead === 0,
    `${c.nKvHead} key heads do not divide ${c.nHead} attention heads`,
  );
}
