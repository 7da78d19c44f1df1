/**
 * The mixer of Mamba-3. Source: Lahoti et al. 2026 (arXiv:2603.15569), [1]; state-spaces/mamba, `modules/mamba3.py`.
 *
 * T tokens of each of B sequences lie as B * T rows. z: the gate; dt: Δ; A (from the input, a scalar a head), B, C, D, h:
 * the paper's letters; rank: of the inputs and outputs of one head (MIMO), 1 for SISO. There is no convolution.
 */
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { mamba3Scan, type DecayActivation } from "../../../kernels/ops/mamba3-scan/mamba3-scan.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { split } from "../../../kernels/spec/views.ts";
import { requireGeometry } from "../architecture.ts";
import type { ConfigFields } from "../config-fields.ts";
import type { WeightLoader } from "../weight-loader.ts";

/** The dimensions of one mixer. */
export interface Mamba3MixerShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
  /** Rotated pairs of columns of B and C. */
  readonly nAngle: number;
  readonly mimo: boolean;
  /** 1 without `mimo`. */
  readonly rank: number;
  /** A norm over each head before the gate. */
  readonly outputNorm: boolean;
  readonly decay: DecayActivation;
  /** A is at most −aFloor. */
  readonly aFloor: number;
}

export interface Mamba3MixerWeights {
  readonly inProj: Weight; //      (2 * dInner + 2 * rank * nGroup * dState + 3 * nHead + nAngle, dModel)
  readonly dtBias: Weight; //      (1, nHead)
  readonly BNorm: Weight; //       (1, dState)
  readonly CNorm: Weight; //       (1, dState)
  readonly BBias: Weight; //       (nHead * rank, dState)
  readonly CBias: Weight; //       (nHead * rank, dState)
  readonly D: Weight; //           (1, nHead)
  readonly mimoX: Weight | null; //(nHead * rank, headDim)
  readonly mimoZ: Weight | null; //(nHead * rank, headDim)
  readonly mimoO: Weight | null; //(nHead * rank, headDim)
  readonly norm: Weight | null; // (1, dInner)
  readonly outProj: Weight; //     (dModel, dInner)
}

/** The state of one mixer. */
export interface Mamba3MixerSlots {
  readonly angle: Tensor;
  readonly ssm: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** Of the norms on B and C and of that on the output; the authors' code has it fixed. */
const EPS = 1e-5;

/** Columns of the input's projection: z, x, B, C, dt, A, trap, angle. */
function projectionWidths(c: Mamba3MixerShape): readonly number[] {
  const dInner = c.nHead * c.headDim;
  const dBC = c.rank * c.nGroup * c.dState;
  return [dInner, dInner, dBC, dBC, c.nHead, c.nHead, c.nHead, c.nAngle];
}

/**
 * One mixer: (B * T, dModel) → (B * T, dModel). [1] §3.4, fig. 2
 * @param slots as `mamba3MixerSlots` lays them out
 */
export function mamba3Mixer(
  k: Recorder,
  c: Mamba3MixerShape,
  w: Mamba3MixerWeights,
  slots: Mamba3MixerSlots,
  u: Tensor,
  options: { readonly residual?: Tensor | null } = {},
): Tensor {
  const { rank, nGroup, dState: groupSize } = c;
  const projected = linear(k, u, w.inProj);
  const [dInner = 0, , dBC = 0, , nHead = 0, , , nAngle = 0] = projectionWidths(c);
  const widths = [dInner, dInner, dBC, dBC, nHead, nHead, nHead, nAngle] as const;
  const [z, x, B, C, dtRaw, aRaw, trap, angleRaw] = split(projected, widths);
  const y = mamba3Scan(k, {
    x,
    z,
    B: rmsNorm(k, { x: B, weight: w.BNorm, eps: EPS, groupSize }),
    C: rmsNorm(k, { x: C, weight: w.CNorm, eps: EPS, groupSize }),
    dtRaw,
    aRaw,
    trap,
    angleRaw,
    dtBias: w.dtBias,
    BBias: w.BBias,
    CBias: w.CBias,
    D: w.D,
    mimoX: w.mimoX,
    mimoZ: w.mimoZ,
    mimoO: w.mimoO,
    norm: w.norm,
    eps: EPS,
    decay: c.decay,
    aFloor: c.aFloor,
    // The authors' kernels rotate other pairs with MIMO than without.
    pairs: c.mimo ? "halves" : "neighbours",
    angles: slots.angle,
    state: slots.ssm,
    keys: slots.k,
    values: slots.v,
    nGroup,
    rank,
  }); // (B * T, dInner)
  return linear(k, y, w.outProj, { residual: options.residual ?? null }); // (B * T, dModel)
}

/** Angles, h, and the last token's k and v. */
export function mamba3MixerSlots(prefix: string, c: Mamba3MixerShape): readonly StateSlot[] {
  const { nHead, headDim, dState, nAngle, rank } = c;
  return [
    { name: `${prefix}.angle`, shape: [nHead, nAngle] },
    { name: `${prefix}.ssm`, shape: [nHead, headDim, dState] },
    { name: `${prefix}.k`, shape: [nHead, rank, dState] },
    { name: `${prefix}.v`, shape: [nHead, rank, headDim] },
  ];
}

/**
 * @param at what stands before the mixer's names
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadMamba3Mixer(
  from: WeightLoader,
  at: string,
  c: Mamba3MixerShape,
): Promise<Mamba3MixerWeights> {
  const { dModel, nHead, headDim, dState, rank, mimo, outputNorm } = c;
  const dInner = nHead * headDim;
  const rows = projectionWidths(c).reduce((sum, width) => sum + width, 0);
  // (nHead, rank, …) in the file; as a list of one tensor only its number of values is checked.
  const table = (name: string, cols: number): Promise<Weight> =>
    from.vector([at + name], nHead * rank, cols);
  return {
    inProj: await from.matrix(`${at}in_proj.weight`, rows, dModel),
    dtBias: await from.vector(`${at}dt_bias`, 1, nHead),
    BNorm: await from.vector(`${at}B_norm.weight`, 1, dState),
    CNorm: await from.vector(`${at}C_norm.weight`, 1, dState),
    BBias: await table("B_bias", dState),
    CBias: await table("C_bias", dState),
    D: await from.vector(`${at}D`, 1, nHead),
    mimoX: mimo ? await table("mimo_x", headDim) : null,
    mimoZ: mimo ? await table("mimo_z", headDim) : null,
    mimoO: mimo ? await table("mimo_o", headDim) : null,
    norm: outputNorm ? await from.vector(`${at}norm.weight`, 1, dInner) : null,
    outProj: await from.matrix(`${at}out_proj.weight`, dModel, dInner),
  };
}

/**
 * The fields of `ssm_cfg`, with the defaults of the authors' module. `A_activation` is ours: the first release had softplus
 * where the current code has a heavier tail, and a checkpoint does not say which it was trained with.
 * @throws WeightsError `malformed`, `unsupported`
 */
export function readMamba3Mixer(config: ConfigFields, dModel: number): Mamba3MixerShape {
  const headDim = config.count(["headdim"], 64);
  const dInner = Math.trunc(config.positive(["expand"], 2) * dModel);
  const nGroup = config.count(["ngroups"], 1);
  const dState = config.count(["d_state"], 128);
  const fraction = config.positive(["rope_fraction"], 0.5);
  if (fraction !== 0.5 && fraction !== 1) throw config.unsupported("rope_fraction", "0.5 or 1");
  const decay = config.string(["A_activation"], "heavy_tail");
  if (decay !== "heavy_tail" && decay !== "softplus")
    throw config.unsupported("A_activation", '"heavy_tail" or "softplus"');
  const mimo = config.boolean(["is_mimo"], false);
  const nHead = dInner / headDim;
  const nAngle = Math.floor(Math.trunc(dState * fraction) / 2);
  requireGeometry(Number.isInteger(nHead), `heads of ${headDim} do not divide ${dInner} columns`);
  requireGeometry(nHead % nGroup === 0, `${nGroup} groups do not divide ${nHead} heads`);
  requireGeometry(nAngle >= 1, `a state of ${dState} has no columns to rotate`);
  requireGeometry(!mimo || dState % 2 === 0, `a state of ${dState} has no two halves`);
  return {
    dModel,
    nHead,
    headDim,
    nGroup,
    dState,
    nAngle,
    mimo,
    rank: mimo ? config.count(["mimo_rank"], 4) : 1,
    outputNorm: config.boolean(["is_outproj_norm"], false),
    decay,
    aFloor: config.positive(["A_floor"], 1e-4),
  };
}
