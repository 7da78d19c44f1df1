/**
 * Zamba: Mamba layers with heads of their own projections, and one transformer block that several layers share.
 * Source: Glorioso et al. 2024 (arXiv:2405.16712), [1]; transformers `modeling_zamba.py`.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input; e: the tokens' embeddings, which the shared block
 * sees beside x; u, z: the two halves of a Mamba layer's projection; dt: Δ; A, B, C, D, h: the letters of Mamba's paper.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { blockLinear } from "../../kernels/ops/block-linear/block-linear.ts";
import { causalConv1d } from "../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import { selectiveScan } from "../../kernels/ops/selective-scan/selective-scan.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  noGguf,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
} from "./blocks/attention.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import { readActivation } from "./blocks/read-activation.ts";
import {
  readZambaLayers,
  zambaSlots,
  zambaStateLayout,
  type ZambaLayer,
} from "./blocks/zamba-layers.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface ZambaConfig {
  readonly layers: readonly ZambaLayer[];
  readonly dModel: number;
  readonly dFf: number;
  readonly vocabSize: number;
  readonly eps: number;
  /** Of the shared block's MLP. */
  readonly act: Activation;
  readonly mamba: MambaHeads;
  readonly attention: AttentionShape;
  /** The head is the embedding. */
  readonly tied: boolean;
}

/** Mamba layers whose heads are Mambas of their own between the projections. [1] §2 */
interface MambaHeads {
  readonly nHead: number;
  readonly headDim: number;
  readonly dState: number;
  readonly dConv: number;
  readonly dtRank: number;
  readonly projectionBias: boolean;
  readonly convBias: boolean;
  /** After the convolution; the gate is silu always. */
  readonly act: Activation;
}

interface MambaWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly inProj: Weight; //         (2 * dInner, dModel): u, z
  readonly inBias: Weight | null; //  (1, 2 * dInner)
  readonly conv: Weight; //           (dInner, dConv)
  readonly convBias: Weight | null; //(1, dInner)
  readonly dtLowProj: Weight; //      (nHead * dtRank, headDim), a block a head
  readonly BProj: Weight; //          (nHead * dState, headDim), likewise
  readonly CProj: Weight; //          (nHead * dState, headDim), likewise
  readonly dtProj: Weight; //         (nHead * headDim, dtRank), likewise
  readonly dtBias: Weight; //         (1, dInner)
  readonly A: Weight; //              (dInner, dState), negative
  readonly D: Weight; //              (1, dInner)
  readonly outProj: Weight; //        (dModel, dInner)
  readonly outBias: Weight | null; // (1, dModel)
}

/** The transformer block that all hybrid layers share. */
interface SharedWeights {
  readonly norm: Weight; //   (1, 2 * dModel)
  readonly attention: AttentionWeights;
  readonly mlpNorm: Weight; //(1, dModel)
  readonly mlp: MlpWeights;
}

interface LayerWeights {
  readonly mamba: MambaWeights;
  /** From the shared block into this layer, (dModel, dModel); null in layers without it. */
  readonly linear: Weight | null;
}

interface ZambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly shared: SharedWeights | null;
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** nHead * headDim */
function dInnerOf({ nHead, headDim }: MambaHeads): number {
  return nHead * headDim;
}

/** A Mamba layer; what its mixer sees is `input`, what it is added to x. [1] §2, eq. 6 */
function mambaLayer(
  k: Recorder,
  c: ZambaConfig,
  w: MambaWeights,
  slots: { readonly conv: Tensor; readonly ssm: Tensor },
  input: Tensor,
  x: Tensor,
): Tensor {
  const { nHead, act } = c.mamba;
  const dInner = dInnerOf(c.mamba);
  const normed = rmsNorm(k, { x: input, weight: w.norm, eps: c.eps }); // (B * T, dModel)
  const [u, z] = split(linear(k, normed, w.inProj, { bias: w.inBias }), [dInner, dInner]); // (B * T, dInner) × 2
  const silu = act === "silu";
  const { conv: weight, convBias: bias } = w;
  const mixed = causalConv1d(k, { x: u, weight, bias, state: slots.conv, silu });
  const conv = silu ? mixed : activation(k, mixed, act); // (B * T, dInner)
  const perHead = (from: Tensor, blocks: Weight): Tensor =>
    blockLinear(k, { x: from, weight: blocks, nBlock: nHead });
  const dtLow = perHead(conv, w.dtLowProj); // (B * T, nHead * dtRank)
  const y = selectiveScan(k, {
    x: conv,
    dtRaw: perHead(dtLow, w.dtProj), // (B * T, dInner)
    dtBias: w.dtBias,
    dtSoftplus: true,
    A: w.A,
    B: perHead(conv, w.BProj), // (B * T, nHead * dState)
    C: perHead(conv, w.CProj), // (B * T, nHead * dState)
    D: w.D,
    z,
    state: slots.ssm,
    nGroup: nHead,
  }); // (B * T, dInner)
  return linear(k, y, w.outProj, { bias: w.outBias, residual: x }); // (B * T, dModel)
}

/** The shared block over x beside e: (B * T, 2 * dModel) → (B * T, dModel). [1] §2, eq. 3–5 */
function sharedBlock(
  k: Recorder,
  c: ZambaConfig,
  w: SharedWeights,
  slots: { readonly keys: Tensor; readonly values: Tensor },
  both: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x: both, weight: w.norm, eps: c.eps }); // (B * T, 2 * dModel)
  const attended = attentionLayer(k, c.attention, w.attention, null, slots, normed); // (B * T, dModel)
  const fed = rmsNorm(k, { x: attended, weight: w.mlpNorm, eps: c.eps });
  return mlp(k, w.mlp, fed, { act: c.act }); // (B * T, dModel)
}

function recordZamba(c: ZambaConfig, w: ZambaWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    const both = k.temporary(x.rows, 2 * c.dModel); // x beside e
    const [left, right] = split(both, [c.dModel, c.dModel]);
    scaledAdd(k, { a: x, into: right });
    w.layers.forEach(({ mamba, linear: into }, i) => {
      const slots = zambaSlots(k, c.layers, i);
      let input = x;
      if (w.shared !== null && into !== null && slots.attention !== null) {
        scaledAdd(k, { a: x, into: left });
        const shared = sharedBlock(k, c, w.shared, slots.attention, both);
        input = linear(k, shared, into, { residual: x }); // (B * T, dModel)
      }
      x = mambaLayer(k, c, mamba, slots, input, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

const NAMES = {
  embedding: "model.embed_tokens.weight",
  norm: "model.final_layernorm.weight",
  head: "lm_head.weight",
  layer: (i: number) => `model.layers.${i}.`,
  /** What stands before a layer's Mamba part. */
  mamba: { plain: "", hybrid: "mamba_decoder." },
  shared: "shared_transf.",
  linear: "linear.weight",
} as const;

async function loadMamba(c: ZambaConfig, from: WeightLoader, at: string): Promise<MambaWeights> {
  const { nHead, headDim, dState, dConv, dtRank, projectionBias, convBias } = c.mamba;
  const dInner = dInnerOf(c.mamba);
  const mixer = `${at}mamba.`;
  // u and z lie channel by channel: u0, z0, u1, z1, …
  const interleaved = (row: number): number => (row < dInner ? 2 * row : 2 * (row - dInner) + 1);
  // Each head of x_proj has dt, B and C below one another; here all heads' dt come first, then all B, then all C.
  const xProj = (first: number, each: number): Promise<Weight> =>
    from.matrix(
      [
        {
          name: `${mixer}x_proj_weight`,
          rows: nHead * each,
          storedRows: nHead * (dtRank + 2 * dState),
          order: (row) => Math.floor(row / each) * (dtRank + 2 * dState) + first + (row % each),
        },
      ],
      nHead * each,
      headDim,
    );
  return {
    norm: await from.vector(`${at}input_layernorm.weight`, 1, c.dModel),
    inProj: await from.matrix(
      [{ name: `${mixer}in_proj.weight`, order: interleaved }],
      2 * dInner,
      c.dModel,
    ),
    inBias: projectionBias
      ? await from.vector(`${mixer}in_proj.bias`, 1, 2 * dInner, undefined, interleaved)
      : null,
    conv: await from.vector(`${mixer}conv1d.weight`, dInner, dConv),
    convBias: convBias ? await from.vector(`${mixer}conv1d.bias`, 1, dInner) : null,
    dtLowProj: await xProj(0, dtRank),
    BProj: await xProj(dtRank, dState),
    CProj: await xProj(dtRank + dState, dState),
    dtProj: await from.matrix(`${mixer}dt_proj_weight`, dInner, dtRank),
    dtBias: await from.vector(`${mixer}dt_proj_bias`, 1, dInner),
    A: await from.vector([`${mixer}A_log`], dInner, dState, (ALog) => -Math.exp(ALog)),
    D: await from.vector(`${mixer}D`, 1, dInner),
    outProj: await from.matrix(`${mixer}out_proj.weight`, c.dModel, dInner),
    outBias: projectionBias ? await from.vector(`${mixer}out_proj.bias`, 1, c.dModel) : null,
  };
}

async function loadShared(c: ZambaConfig, from: WeightLoader, at: string): Promise<SharedWeights> {
  const { dModel, dFf } = c;
  const feedForward = `${at}feed_forward.`;
  return {
    norm: await from.vector(`${at}input_layernorm.weight`, 1, 2 * dModel),
    attention: await loadAttention(from, at, ATTENTION_NAMES.safetensors, c.attention),
    mlpNorm: await from.vector(`${at}pre_ff_layernorm.weight`, 1, dModel),
    mlp: await loadMlp(
      from,
      {
        gateUp: [`${feedForward}gate_proj`, `${feedForward}up_proj`],
        down: `${feedForward}down_proj`,
      },
      { dModel, dFf, bias: false },
    ),
  };
}

async function loadWeights(c: ZambaConfig, from: WeightLoader): Promise<ZambaWeights> {
  const { dModel, vocabSize } = c;
  const embeddingTable = await from.matrix(NAMES.embedding, vocabSize, dModel);
  // The file holds the shared block once, under the first layer that has it.
  const owner = c.layers.indexOf(0);
  const shared = owner === -1 ? null : await loadShared(c, from, NAMES.layer(owner) + NAMES.shared);
  const layers: LayerWeights[] = [];
  for (const [i, hybrid] of c.layers.entries()) {
    const at = NAMES.layer(i);
    const prefix = hybrid === null ? NAMES.mamba.plain : NAMES.mamba.hybrid;
    layers.push({
      mamba: await loadMamba(c, from, at + prefix),
      linear: hybrid === null ? null : await from.matrix(at + NAMES.linear, dModel, dModel),
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    shared,
    norm: await from.vector(NAMES.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(NAMES.head, vocabSize, dModel),
  };
}

function model(c: ZambaConfig): Model {
  const { mamba, attention, layers } = c;
  const dInner = dInnerOf(mamba);
  requireGeometry(
    Number.isInteger(mamba.headDim) && mamba.headDim >= 1,
    `${mamba.nHead} heads do not divide ${dInner} columns`,
  );
  requireGeometry(mamba.dConv >= 2, `a convolution of ${mamba.dConv} taps has no state`);
  requireHeads(attention);
  return {
    modelType: "zamba",
    nLayer: layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: zambaStateLayout(layers, {
      mamba: (prefix) => [
        { name: `${prefix}.conv`, shape: [dInner, mamba.dConv - 1] },
        { name: `${prefix}.ssm`, shape: [mamba.nHead, mamba.headDim, mamba.dState] },
      ],
      attention: (prefix) => attentionLayerSlots(prefix, attention),
    }),
    load: async (loader) => recordZamba(c, await loadWeights(c, loader)),
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 3712);
  const nHead = config.count(["num_attention_heads"], 16);
  const headDim = config.count(
    ["attention_head_dim", "head_dim"],
    Math.floor((2 * dModel) / nHead),
  );
  const attentionSize = config.count(["attention_hidden_size"], 2 * dModel);
  requireGeometry(
    attentionSize === 2 * dModel,
    `attention_hidden_size is ${attentionSize}, but x beside e has ${2 * dModel} columns`,
  );
  const nMambaHead = config.count(["n_mamba_heads"], 2);
  const period = config.count(["attn_layer_period"], 6);
  const offset = config.whole(["attn_layer_offset"], 4);
  return model({
    layers: readZambaLayers(config, {
      nLayer: 76,
      hybrid: (layer) => (layer < 3 ? layer === 2 : (layer - 3) % period === offset),
    }),
    dModel,
    dFf: config.count(["intermediate_size"], 14_848),
    vocabSize: config.count(["vocab_size"], 32_000),
    eps: config.positive(["rms_norm_eps"], 1e-5),
    act: readActivation(config, ["hidden_act"], "gelu"),
    mamba: {
      nHead: nMambaHead,
      headDim: (config.count(["mamba_expand"], 2) * dModel) / nMambaHead,
      dState: config.count(["mamba_d_state"], 16),
      dConv: config.count(["mamba_d_conv"], 4),
      dtRank: config.is("mamba_dt_rank", "auto")
        ? Math.ceil(dModel / 16)
        : config.count(["mamba_dt_rank"], Math.ceil(dModel / 16)),
      projectionBias: config.boolean(["mamba_proj_bias"], false),
      convBias: config.boolean(["mamba_conv_bias"], true),
      act: readActivation(config, ["hidden_mamba_act"], "silu"),
    },
    attention: {
      dIn: 2 * dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.count(["num_key_value_heads"], 16),
      headDim,
      // Of half a head: the input is twice as wide as the model. [1] §2
      scale: (headDim / 2) ** -0.5,
      softCap: null,
      window: null,
      qkvBias: false,
      outBias: false,
      qkNorm: null,
    },
    tied: config.boolean(["tie_word_embeddings"], true),
  });
}

/** `model_type` "zamba". */
export const zamba: Architecture = { fromConfig, fromGguf: noGguf("zamba") };
