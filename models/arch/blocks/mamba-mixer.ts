/**
 * The mixer of Mamba, in Falcon Mamba and Jamba with RMS norms on dt, B and C. Source: Gu & Dao 2023
 * (arXiv:2312.00752), [1]; the norms Lieber et al. 2024 (arXiv:2403.19887) §6.4.
 *
 * T tokens of each of B sequences lie as B * T rows. u, z: the two halves of the input's projection; dt: Δ; A, B, C, D,
 * h: the paper's letters.
 */
import { activation } from "../../../kernels/ops/activation/activation.ts";
import { causalConv1d } from "../../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { selectiveScan } from "../../../kernels/ops/selective-scan/selective-scan.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { split } from "../../../kernels/spec/views.ts";
import { requireGeometry } from "../architecture.ts";
import type { WeightLoader } from "../weight-loader.ts";

/** The dimensions of one mixer. */
export interface MambaMixerShape {
  readonly dModel: number;
  readonly dInner: number;
  readonly dState: number;
  readonly dConv: number;
  readonly dtRank: number;
  readonly projectionBias: boolean;
  readonly convBias: boolean;
  /** After the convolution; the gate is silu always. */
  readonly act: Activation;
  /** Norms on dt, B and C: with weights, without, or none at all. */
  readonly innerNorms: "weighted" | "plain" | "none";
  /** Of those norms. */
  readonly innerEps: number;
}

export interface MambaMixerWeights {
  readonly inProj: Weight; //         (2 * dInner, dModel)
  readonly inBias: Weight | null; //  (1, 2 * dInner)
  readonly conv: Weight; //           (dInner, dConv)
  readonly convBias: Weight | null; //(1, dInner)
  readonly xProj: Weight; //          (dtRank + 2 * dState, dInner)
  readonly dtNorm: Weight | null; //  (1, dtRank)
  readonly bNorm: Weight | null; //   (1, dState)
  readonly cNorm: Weight | null; //   (1, dState)
  readonly dtProj: Weight; //         (dInner, dtRank)
  readonly dtBias: Weight; //         (1, dInner)
  readonly A: Weight; //              (dInner, dState), negative
  readonly D: Weight; //              (1, dInner)
  readonly outProj: Weight; //        (dModel, dInner)
  readonly outBias: Weight | null; // (1, dModel)
}

/**
 * One mixer: (B * T, dModel) → (B * T, dModel); T = 1 is a step of decode, T > 1 a piece of prefill. [1] §3.4, fig. 3.
 * @param slots as `mambaMixerSlots` lays them out
 */
export function mambaMixer(
  k: Recorder,
  c: MambaMixerShape,
  w: MambaMixerWeights,
  slots: { readonly conv: Tensor; readonly ssm: Tensor },
  x: Tensor,
  options: { readonly residual: Tensor | null },
): Tensor {
  const { dInner, dState, dtRank, innerEps: eps } = c;
  const norm = (values: Tensor, weight: Weight | null): Tensor =>
    c.innerNorms === "none" ? values : rmsNorm(k, { x: values, weight, eps });
  const [u, z] = split(linear(k, x, w.inProj, { bias: w.inBias }), [dInner, dInner]); // (B * T, dInner) × 2
  const silu = c.act === "silu";
  const mixed = causalConv1d(k, {
    x: u,
    weight: w.conv,
    bias: w.convBias,
    state: slots.conv,
    silu,
  });
  const conv = silu ? mixed : activation(k, mixed, c.act); // (B * T, dInner)
  // (B * T, dtRank), (B * T, dState), (B * T, dState)
  const [dtLow, B, C] = split(linear(k, conv, w.xProj), [dtRank, dState, dState]);
  const dtRaw = linear(k, norm(dtLow, w.dtNorm), w.dtProj); // (B * T, dInner)
  // (B * T, dInner)  [1] alg. 2
  const y = selectiveScan(k, {
    x: conv,
    dtRaw,
    dtBias: w.dtBias,
    dtSoftplus: true,
    A: w.A,
    B: norm(B, w.bNorm),
    C: norm(C, w.cNorm),
    D: w.D,
    z,
    state: slots.ssm,
    nGroup: 1,
  });
  return linear(k, y, w.outProj, { bias: w.outBias, residual: options.residual }); // (B * T, dModel)
}

/** The convolution's inputs, then h. */
export function mambaMixerSlots(
  prefix: string,
  { dInner, dState, dConv }: MambaMixerShape,
): readonly StateSlot[] {
  return [
    { name: `${prefix}.conv`, shape: [dInner, dConv - 1] },
    { name: `${prefix}.ssm`, shape: [dInner, dState] },
  ];
}

const NAMES = {
  safetensors: {
    inProj: "in_proj",
    conv: "conv1d",
    xProj: "x_proj",
    dtNorm: "dt_layernorm",
    bNorm: "b_layernorm",
    cNorm: "c_layernorm",
    dtProj: "dt_proj",
    A: "A_log",
    D: "D",
    outProj: "out_proj",
  },
  gguf: {
    inProj: "ssm_in",
    conv: "ssm_conv1d",
    xProj: "ssm_x",
    dtNorm: "ssm_dt_norm",
    bNorm: "ssm_b_norm",
    cNorm: "ssm_c_norm",
    dtProj: "ssm_dt",
    A: "ssm_a",
    D: "ssm_d",
    outProj: "ssm_out",
  },
} as const;

/**
 * @param at what stands before the mixer's names
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadMambaMixer(
  from: WeightLoader,
  at: string,
  c: MambaMixerShape,
): Promise<MambaMixerWeights> {
  const { dModel, dInner, dState, dConv, dtRank, projectionBias } = c;
  const weighted = c.innerNorms === "weighted";
  const name = NAMES[from.format];
  const vector = async (there: boolean, tensor: string, cols: number): Promise<Weight | null> =>
    there ? from.vector(at + tensor, 1, cols) : null;
  return {
    inProj: await from.matrix(`${at}${name.inProj}.weight`, 2 * dInner, dModel),
    inBias: await vector(projectionBias, `${name.inProj}.bias`, 2 * dInner),
    conv: await from.vector(`${at}${name.conv}.weight`, dInner, dConv),
    convBias: await vector(c.convBias, `${name.conv}.bias`, dInner),
    xProj: await from.matrix(`${at}${name.xProj}.weight`, dtRank + 2 * dState, dInner),
    dtNorm: await vector(weighted, `${name.dtNorm}.weight`, dtRank),
    bNorm: await vector(weighted, `${name.bNorm}.weight`, dState),
    cNorm: await vector(weighted, `${name.cNorm}.weight`, dState),
    dtProj: await from.matrix(`${at}${name.dtProj}.weight`, dInner, dtRank),
    dtBias: await from.vector(`${at}${name.dtProj}.bias`, 1, dInner),
    // Hugging Face stores log(−A), GGUF stores A.
    A: await from.vector(
      at + name.A,
      dInner,
      dState,
      from.format === "gguf" ? undefined : (ALog) => -Math.exp(ALog),
    ),
    D: await from.vector(at + name.D, 1, dInner),
    outProj: await from.matrix(`${at}${name.outProj}.weight`, dModel, dInner),
    outBias: await vector(projectionBias, `${name.outProj}.bias`, dModel),
  };
}

/** @throws WeightsError `malformed` */
export function requireMambaMixer({ dInner, dConv }: MambaMixerShape): void {
  requireGeometry(dInner >= 1 && Number.isInteger(dInner), `dInner is ${dInner}`);
  requireGeometry(dConv >= 2, `a convolution of ${dConv} taps has no state`);
}
