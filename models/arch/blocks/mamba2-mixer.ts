/**
 * The mixer of Mamba-2, as the hybrids have it. Source: Dao & Gu 2024 (arXiv:2405.21060), [1] §7.1, fig. 6.
 *
 * T tokens of each of B sequences lie as B * T rows. z: the gate; dt: Δ; A (a scalar a head), B, C, D, h: the paper's
 * letters. Heads of a group share B and C.
 */
import { activation } from "../../../kernels/ops/activation/activation.ts";
import { causalConv1d } from "../../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { gatedRmsNorm } from "../../../kernels/ops/gated-rms-norm/gated-rms-norm.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../../kernels/ops/scaled-add/scaled-add.ts";
import { ssd } from "../../../kernels/ops/ssd/ssd.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { split } from "../../../kernels/spec/views.ts";
import { requireGeometry, type RunOptions } from "../architecture.ts";
import type { WeightLoader } from "../weight-loader.ts";

/** The dimensions of one mixer. */
export interface Mamba2MixerShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
  readonly dConv: number;
  readonly chunkSize: number;
  readonly projectionBias: boolean;
  /** Of the output's projection, where the input's is not the same. */
  readonly outBias?: boolean;
  readonly convBias: boolean;
  /** After the convolution; the gate is silu always. */
  readonly act: Activation;
  /** dt is kept within these in prompts; in decode it is not (transformers 5.17.0 does the same). */
  readonly dtLimit: readonly [number, number];
  /** What comes after the scan: norm(y · silu(z)), norm(y) · silu(z), or y · silu(z) without a norm. */
  readonly output: "gate-norm" | "norm-gate" | "gate";
  readonly normEps: number;
  /** Columns that share one mean in that norm: dInner, or a group's. */
  readonly normGroupSize: number;
}

export interface Mamba2MixerWeights {
  readonly inProj: Weight; //            (2 * dInner + 2 * nGroup * dState + nHead, dModel): z, x, B, C, dt
  readonly inBias: Weight | null; //     (1, the same)
  /** Multiplies the projection's columns (muP), after the bias; null for none. */
  readonly inScale: Weight | null; //    (1, the same)
  readonly conv: Weight; //              (convChannels, dConv): x, B, C
  readonly convBias: Weight | null; //   (1, convChannels)
  readonly dtBias: Weight; //            (1, nHead)
  readonly A: Weight; //                 (1, nHead), negative
  readonly D: Weight; //                 (1, nHead)
  readonly norm: Weight | null; //       (1, dInner)
  readonly outProj: Weight; //           (dModel, dInner)
  readonly outBias: Weight | null; //    (1, dModel)
}

/** nHead * headDim */
export function dInnerOf({ nHead, headDim }: Mamba2MixerShape): number {
  return nHead * headDim;
}

/** Channels of the convolution: x, B and C go through it together. [1] §7.1 */
export function convChannelsOf(c: Mamba2MixerShape): number {
  return dInnerOf(c) + 2 * c.nGroup * c.dState;
}

/** Rows of the input's projection: z, x, B, C, dt. */
export function projectionRowsOf(c: Mamba2MixerShape): number {
  return dInnerOf(c) + convChannelsOf(c) + c.nHead;
}

/**
 * One mixer: (B * T, dModel) → (B * T, dModel); T = 1 is a step of decode, T > 1 a piece of prefill.
 * @param slots as `mamba2MixerSlots` lays them out
 */
export function mamba2Mixer(
  k: Recorder,
  c: Mamba2MixerShape,
  w: Mamba2MixerWeights,
  slots: { readonly conv: Tensor; readonly ssm: Tensor },
  x: Tensor,
  options: { readonly phase: RunOptions["phase"]; readonly residual?: Tensor | null },
): Tensor {
  const { phase, residual = null } = options;
  const dInner = dInnerOf(c);
  const dBC = c.nGroup * c.dState;
  const [dtMin, dtMax] = phase === "prefill" ? c.dtLimit : [0, Infinity];
  const plain = linear(k, x, w.inProj, { bias: w.inBias }); // (B * T, all of the next line)
  const projected = w.inScale === null ? plain : scaledAdd(k, { a: plain, aScale: w.inScale });
  // (B * T, dInner), (B * T, convChannels), (B * T, nHead)
  const [z, xBC, dtRaw] = split(projected, [dInner, convChannelsOf(c), c.nHead]);
  const silu = c.act === "silu";
  const mixed = causalConv1d(k, {
    x: xBC,
    weight: w.conv,
    bias: w.convBias,
    state: slots.conv,
    silu,
  });
  const conv = silu ? mixed : activation(k, mixed, c.act); // (B * T, convChannels)
  const [u, B, C] = split(conv, [dInner, dBC, dBC]); // (B * T, dInner), (B * T, nGroup * dState) × 2
  // (B * T, dInner)  [1] §6
  const y = ssd(k, {
    x: u,
    dtRaw,
    dtBias: w.dtBias,
    dtSoftplus: true,
    dtMin,
    dtMax,
    A: w.A,
    B,
    C,
    D: w.D,
    // Without a norm the scan itself gates.
    z: w.norm === null ? z : null,
    state: slots.ssm,
    nGroup: c.nGroup,
    chunkSize: c.chunkSize,
  });
  const gated = w.norm === null ? y : gateAndNorm(k, c, w.norm, y, z); // (B * T, dInner)
  return linear(k, gated, w.outProj, { bias: w.outBias, residual }); // (B * T, dModel)
}

function gateAndNorm(
  k: Recorder,
  c: Mamba2MixerShape,
  weight: Weight,
  y: Tensor,
  z: Tensor,
): Tensor {
  const { normEps: eps, normGroupSize: groupSize } = c;
  if (c.output === "gate-norm") return gatedRmsNorm(k, { x: y, z, weight, eps, groupSize });
  return gate(k, { a: z, b: rmsNorm(k, { x: y, weight, eps, groupSize }), act: "silu" });
}

/** The convolution's inputs, then h. */
export function mamba2MixerSlots(prefix: string, c: Mamba2MixerShape): readonly StateSlot[] {
  return [
    { name: `${prefix}.conv`, shape: [convChannelsOf(c), c.dConv - 1] },
    { name: `${prefix}.ssm`, shape: [c.nHead, c.headDim, c.dState] },
  ];
}

const NAMES = {
  safetensors: {
    inProj: "in_proj",
    conv: "conv1d",
    dtBias: "dt_bias",
    A: "A_log",
    D: "D",
    norm: "norm.weight",
    outProj: "out_proj",
  },
  gguf: {
    inProj: "ssm_in",
    conv: "ssm_conv1d",
    dtBias: "ssm_dt.bias",
    A: "ssm_a",
    D: "ssm_d",
    norm: "ssm_norm.weight",
    outProj: "ssm_out",
  },
} as const;

/**
 * @param at what stands before the mixer's names
 * @param inScale (1, projectionRows), or null
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadMamba2Mixer(
  from: WeightLoader,
  at: string,
  c: Mamba2MixerShape,
  inScale: Weight | null = null,
): Promise<Mamba2MixerWeights> {
  const { dModel, nHead, dConv, projectionBias } = c;
  const dInner = dInnerOf(c);
  const convChannels = convChannelsOf(c);
  const inRows = projectionRowsOf(c);
  const name = NAMES[from.format];
  const vector = async (there: boolean, tensor: string, cols: number): Promise<Weight | null> =>
    there ? from.vector(at + tensor, 1, cols) : null;
  return {
    inProj: await from.matrix(`${at}${name.inProj}.weight`, inRows, dModel),
    inBias: await vector(projectionBias, `${name.inProj}.bias`, inRows),
    inScale,
    conv: await from.vector(`${at}${name.conv}.weight`, convChannels, dConv),
    convBias: await vector(c.convBias, `${name.conv}.bias`, convChannels),
    dtBias: await from.vector(at + name.dtBias, 1, nHead),
    // Hugging Face stores log(−A), GGUF stores A.
    A: await from.vector(
      at + name.A,
      1,
      nHead,
      from.format === "gguf" ? undefined : (ALog) => -Math.exp(ALog),
    ),
    D: await from.vector(at + name.D, 1, nHead),
    norm: await vector(c.output !== "gate", name.norm, dInner),
    outProj: await from.matrix(`${at}${name.outProj}.weight`, dModel, dInner),
    outBias: await vector(c.outBias ?? projectionBias, `${name.outProj}.bias`, dModel),
  };
}

/** @throws WeightsError `malformed` */
export function requireMamba2Mixer(c: Mamba2MixerShape): void {
  const { nHead, headDim, nGroup, dConv, normGroupSize } = c;
  requireGeometry(Number.isInteger(headDim) && headDim >= 1, `heads of ${headDim}`);
  requireGeometry(nHead % nGroup === 0, `${nGroup} groups do not divide ${nHead} heads`);
  requireGeometry(dConv >= 2, `a convolution of ${dConv} taps has no state`);
  requireGeometry(
    dInnerOf(c) % normGroupSize === 0,
    `groups of ${normGroupSize} do not divide ${dInnerOf(c)} columns`,
  );
}
