/**
 * The attention layer of state-spaces/mamba (`modules/mha.py`): one projection for queries, keys, values and the two halves
 * of a gated MLP beside them, a causal convolution before the rotation. Source: Dao & Gu 2024 (arXiv:2405.21060) §9.2.3.
 *
 * The authors' code keeps the convolution's outputs where it means its inputs once a prompt is read, and so decodes
 * otherwise than it reads; here decode follows the layer's definition.
 */
import { attention, attentionSlots } from "../../../kernels/ops/attention/attention.ts";
import { causalConv1d } from "../../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rope } from "../../../kernels/ops/rope/rope.ts";
import { scaledAdd } from "../../../kernels/ops/scaled-add/scaled-add.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { columns, split } from "../../../kernels/spec/views.ts";
import { requireGeometry } from "../architecture.ts";
import type { ConfigFields } from "../config-fields.ts";
import type { WeightLoader } from "../weight-loader.ts";
import { plainFrequencies } from "./rope-frequencies.ts";

/** The dimensions of one layer. */
export interface MhaShape {
  readonly dModel: number;
  readonly nHead: number;
  readonly nKvHead: number;
  readonly headDim: number;
  /** Multiplies q · k. */
  readonly scale: number;
  /** Taps of the convolution over q, k and v; 0 for none. */
  readonly dConv: number;
  /** The first columns of a head that rotate; 0 for none. */
  readonly rotaryDim: number;
  readonly rotaryBase: number;
  readonly pairs: "halves" | "neighbours";
  /** Both halves of the MLP; 0 for none. */
  readonly dMlp: number;
  readonly inBias: boolean;
  readonly outBias: boolean;
}

export interface MhaWeights {
  readonly inProj: Weight; //          (dQkv + dMlp, dModel): q, k, v, up, gate
  readonly inBias: Weight | null; //   (1, dQkv + dMlp)
  readonly conv: Weight | null; //     (dQkv, dConv)
  readonly convBias: Weight | null; // (1, dQkv)
  readonly frequencies: Weight | null; // (1, rotaryDim / 2)
  readonly outProj: Weight; //         (dModel, nHead * headDim + dMlp / 2)
  readonly outBias: Weight | null; //  (1, dModel)
}

/** The state of one layer; no inputs of a convolution where there is none. */
export interface MhaSlots {
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly conv: Tensor | null;
}

/** Columns of q, k and v together. */
function qkvWidth({ nHead, nKvHead, headDim }: MhaShape): number {
  return (nHead + 2 * nKvHead) * headDim;
}

/** One layer: (B * T, dModel) → (B * T, dModel). */
export function mha(
  k: Recorder,
  c: MhaShape,
  w: MhaWeights,
  slots: MhaSlots,
  x: Tensor,
  options: { readonly residual?: Tensor | null } = {},
): Tensor {
  const { nHead, nKvHead, headDim, scale, dMlp } = c;
  const [dQ, dKv] = [nHead * headDim, nKvHead * headDim];
  const projected = linear(k, x, w.inProj, { bias: w.inBias }); // (B * T, dQkv + dMlp)
  const plain = columns(projected, 0, qkvWidth(c));
  const qkv =
    w.conv === null || slots.conv === null
      ? plain
      : causalConv1d(k, {
          x: plain,
          weight: w.conv,
          bias: w.convBias,
          state: slots.conv,
          silu: false,
        });
  const [q, keys, v] = split(qkv, [dQ, dKv, dKv]); // (B * T, dQ), (B * T, dKv) × 2
  const turn = (heads: Tensor): Tensor =>
    w.frequencies === null
      ? heads
      : rope(k, { x: heads, frequencies: w.frequencies, headDim, pairs: c.pairs });
  const attended = attention(k, {
    q: turn(q),
    k: turn(keys),
    v,
    keys: slots.keys,
    values: slots.values,
    nHead,
    nKvHead,
    headDimK: headDim,
    headDimV: headDim,
    scale,
    window: null,
  }); // (B * T, dQ)
  let context = attended;
  if (dMlp > 0) {
    context = k.temporary(x.rows, dQ + dMlp / 2);
    const [left, right] = split(context, [dQ, dMlp / 2]);
    const [up, gated] = split(columns(projected, qkvWidth(c), dMlp), [dMlp / 2, dMlp / 2]);
    scaledAdd(k, { a: attended, into: left });
    gate(k, { a: gated, b: up, act: "silu", into: right });
  }
  return linear(k, context, w.outProj, { bias: w.outBias, residual: options.residual ?? null }); // (B * T, dModel)
}

/** Keys, values, and the convolution's inputs where there is one. */
export function mhaSlots(prefix: string, c: MhaShape): readonly StateSlot[] {
  const { nKvHead, headDim, dConv } = c;
  return [
    ...attentionSlots(prefix, { nKvHead, headDimK: headDim, headDimV: headDim, window: null }),
    ...(dConv > 0 ? [{ name: `${prefix}.conv`, shape: [qkvWidth(c), dConv - 1] }] : []),
  ];
}

/**
 * @param at what stands before the layer's names
 * @throws WeightsError `missing`, `mismatch`
 */
export async function loadMha(from: WeightLoader, at: string, c: MhaShape): Promise<MhaWeights> {
  const { dModel, nHead, headDim, dConv, dMlp, rotaryDim, rotaryBase } = c;
  const dQkv = qkvWidth(c);
  const inRows = dQkv + dMlp;
  const table = plainFrequencies(rotaryBase, rotaryDim);
  return {
    inProj: await from.matrix(`${at}in_proj.weight`, inRows, dModel),
    inBias: c.inBias ? await from.vector(`${at}in_proj.bias`, 1, inRows) : null,
    conv: dConv > 0 ? await from.vector(`${at}conv1d.weight`, dQkv, dConv) : null,
    convBias: dConv > 0 ? await from.vector(`${at}conv1d.bias`, 1, dQkv) : null,
    frequencies:
      rotaryDim > 0 ? await from.constant("rotary frequencies", 1, rotaryDim / 2, table) : null,
    outProj: await from.matrix(`${at}out_proj.weight`, dModel, nHead * headDim + dMlp / 2),
    outBias: c.outBias ? await from.vector(`${at}out_proj.bias`, 1, dModel) : null,
  };
}

/** The MLP's width is rounded up to this. */
const MLP_MULTIPLE = 256;

/**
 * The fields of `attn_cfg`, with the defaults of the authors' module.
 * @throws WeightsError `malformed`, `unsupported`
 */
export function readMha(config: ConfigFields, dModel: number): MhaShape {
  const nHead = config.count(["num_heads"]);
  const nKvHead = config.count(["num_heads_kv"], nHead);
  const headDim = config.count(["head_dim"], dModel / nHead);
  // The module's own default sees the tokens behind too.
  if (!config.boolean(["causal"], false)) throw config.unsupported("causal", "true");
  const rotaryDim = config.whole(["rotary_emb_dim"], 0);
  const dConv = config.whole(["d_conv"], 0);
  requireGeometry(
    Number.isInteger(headDim) && nHead % nKvHead === 0,
    `${nHead} heads of ${headDim} for ${nKvHead} key heads`,
  );
  requireGeometry(
    rotaryDim % 2 === 0 && rotaryDim <= headDim,
    `${rotaryDim} of the ${headDim} columns of a head rotate`,
  );
  requireGeometry(dConv !== 1, "a convolution of one tap has no state");
  return {
    dModel,
    nHead,
    nKvHead,
    headDim,
    scale: config.positive(["softmax_scale"], headDim ** -0.5),
    dConv,
    rotaryDim,
    rotaryBase: config.positive(["rotary_emb_base"], 10_000),
    pairs: config.boolean(["rotary_emb_interleaved"], false) ? "neighbours" : "halves",
    dMlp: Math.ceil(config.whole(["mlp_dim"], 0) / MLP_MULTIPLE) * MLP_MULTIPLE,
    inBias: config.boolean(["qkv_proj_bias"], true),
    outBias: config.boolean(["out_proj_bias"], true),
  };
}
