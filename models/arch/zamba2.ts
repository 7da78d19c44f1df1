/**
 * Zamba2: Mamba-2 layers, and transformer blocks that layers share by turns, each layer with low-rank adapters of its own.
 * Source: Glorioso et al. 2024 (arXiv:2411.15242), [1] §2, fig. 2; transformers `modeling_zamba2.py`.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input; e: the tokens' embeddings, which a shared block
 * sees beside x.
 */
import { attention } from "../../kernels/ops/attention/attention.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { rope } from "../../kernels/ops/rope/rope.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
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
  type RunOptions,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import {
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
  type Mamba2MixerShape,
  type Mamba2MixerWeights,
} from "./blocks/mamba2-mixer.ts";
import { loadMlp, type MlpWeights } from "./blocks/mlp.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import {
  readZambaLayers,
  zambaSlots,
  zambaStateLayout,
  type ZambaLayer,
  type ZambaSlots,
} from "./blocks/zamba-layers.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface Zamba2Config {
  readonly layers: readonly ZambaLayer[];
  /** Shared blocks; the hybrid layers take them by turns. */
  readonly nBlock: number;
  readonly dModel: number;
  readonly dFf: number;
  readonly vocabSize: number;
  readonly eps: number;
  /** Of the shared blocks' MLP. */
  readonly act: Activation;
  /** Of the projections in mixers and MLPs. */
  readonly bias: boolean;
  readonly adapterRank: number;
  /** Adapters on q, k and v too. */
  readonly attentionAdapters: boolean;
  readonly mamba: Mamba2MixerShape;
  readonly attention: AttentionShape;
  readonly rotation: Rotation | null;
  /** The head is the embedding. */
  readonly tied: boolean;
}

/** A transformer block that several layers share. */
interface BlockWeights {
  readonly norm: Weight; //   (1, 2 * dModel)
  readonly attention: AttentionWeights;
  readonly mlpNorm: Weight; //(1, dModel)
  readonly mlp: MlpWeights;
}

/** What is added to a shared matrix in one layer: up · down, never multiplied out. Hu et al. 2021 (arXiv:2106.09685) §4.1 */
interface Adapter {
  readonly down: Weight; // (adapterRank, columns in)
  readonly up: Weight; //   (columns out, adapterRank)
}

/** What a hybrid layer has of its own. */
interface HybridWeights {
  readonly block: BlockWeights;
  readonly gateUp: Adapter;
  readonly qkv: { readonly q: Adapter; readonly k: Adapter; readonly v: Adapter } | null;
  /** From the shared block into this layer, (dModel, dModel). */
  readonly linear: Weight;
}

interface LayerWeights {
  readonly norm: Weight; // (1, dModel)
  readonly mamba: Mamba2MixerWeights;
  readonly hybrid: HybridWeights | null;
}

interface Zamba2Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights | null;
}

/** x Wᵀ + bias + x downᵀ upᵀ */
function adapted(
  k: Recorder,
  x: Tensor,
  weight: Weight,
  bias: Weight | null,
  adapter: Adapter | null,
): Tensor {
  const shared = linear(k, x, weight, { bias });
  return adapter === null
    ? shared
    : linear(k, linear(k, x, adapter.down), adapter.up, { residual: shared });
}

/** A shared block over x beside e: (B * T, 2 * dModel) → (B * T, dModel). [1] §2 */
function sharedBlock(
  k: Recorder,
  c: Zamba2Config,
  w: HybridWeights,
  rotation: RotationWeights | null,
  slots: { readonly keys: Tensor; readonly values: Tensor },
  both: Tensor,
): Tensor {
  const { headDim, nHead, nKvHead, scale, softCap, window } = c.attention;
  const { norm, attention: projections, mlpNorm, mlp } = w.block;
  const normed = rmsNorm(k, { x: both, weight: norm, eps: c.eps }); // (B * T, 2 * dModel)
  const project = (weight: Weight, adapter: Adapter | undefined): Tensor =>
    adapted(k, normed, weight, null, adapter ?? null);
  const turn = (x: Tensor): Tensor =>
    rotation === null ? x : rope(k, { x, headDim, ...rotation });
  const attended = attention(k, {
    q: turn(project(projections.q, w.qkv?.q)), // (B * T, nHead * headDim)
    k: turn(project(projections.k, w.qkv?.k)), // (B * T, nKvHead * headDim)
    v: project(projections.v, w.qkv?.v), // (B * T, nKvHead * headDim)
    ...slots,
    nHead,
    nKvHead,
    headDimK: headDim,
    headDimV: headDim,
    scale,
    softCap,
    window,
  }); // (B * T, nHead * headDim)
  const out = linear(k, attended, projections.out); // (B * T, dModel)
  const fed = rmsNorm(k, { x: out, weight: mlpNorm, eps: c.eps });
  const gateUp = adapted(k, fed, mlp.gateUp, mlp.gateUpBias, w.gateUp); // (B * T, 2 * dFf)
  const [a, b] = split(gateUp, [c.dFf, c.dFf]);
  return linear(k, gate(k, { a, b, act: c.act }), mlp.down, { bias: mlp.downBias }); // (B * T, dModel)
}

function recordZamba2(c: Zamba2Config, w: Zamba2Weights): RecordRun {
  /** One layer; the shared block's output reaches the mixer's input only, not the residual. [1] fig. 2 */
  function layer(
    k: Recorder,
    own: LayerWeights,
    slots: ZambaSlots,
    phase: RunOptions["phase"],
    both: Tensor,
    x: Tensor,
  ): Tensor {
    let input = x;
    if (own.hybrid !== null && slots.attention !== null) {
      const [left] = split(both, [c.dModel, c.dModel]);
      scaledAdd(k, { a: x, into: left });
      const shared = sharedBlock(k, c, own.hybrid, w.rotation, slots.attention, both);
      input = linear(k, shared, own.hybrid.linear, { residual: x }); // (B * T, dModel)
    }
    const normed = rmsNorm(k, { x: input, weight: own.norm, eps: c.eps });
    return mamba2Mixer(k, c.mamba, own.mamba, slots, normed, { phase, residual: x }); // (B * T, dModel)
  }

  return (k, { logits, phase }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    const both = k.temporary(x.rows, 2 * c.dModel); // x beside e
    const [, right] = split(both, [c.dModel, c.dModel]);
    scaledAdd(k, { a: x, into: right });
    w.layers.forEach((own, i) => {
      x = layer(k, own, zambaSlots(k, c.layers, i), phase, both, x); // (B * T, dModel)
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
  /** What stands before a layer's Mamba-2 part. */
  mamba: { plain: "", hybrid: "mamba_decoder." },
  shared: "shared_transformer.",
  linear: "linear.weight",
} as const;

async function loadBlock(c: Zamba2Config, from: WeightLoader, at: string): Promise<BlockWeights> {
  const { dModel, dFf, bias } = c;
  return {
    norm: await from.vector(`${at}input_layernorm.weight`, 1, 2 * dModel),
    attention: await loadAttention(from, at, ATTENTION_NAMES.safetensors, c.attention),
    mlpNorm: await from.vector(`${at}pre_ff_layernorm.weight`, 1, dModel),
    mlp: await loadMlp(
      from,
      { gateUp: `${at}feed_forward.gate_up_proj`, down: `${at}feed_forward.down_proj` },
      { dModel, dFf, bias },
    ),
  };
}

/** The adapters of the `hybrid`-th hybrid layer, which the file keeps with the block that it takes. */
async function loadAdapters(
  c: Zamba2Config,
  from: WeightLoader,
  at: string,
  hybrid: number,
): Promise<Pick<HybridWeights, "gateUp" | "qkv">> {
  const { dModel, dFf, adapterRank } = c;
  const adapter = async (list: string, cols: number, rows: number): Promise<Adapter> => ({
    down: await from.matrix(`${at}${list}.${hybrid}.0.weight`, adapterRank, cols),
    up: await from.matrix(`${at}${list}.${hybrid}.1.weight`, rows, adapterRank),
  });
  const attentionAdapter = (name: string): Promise<Adapter> =>
    adapter(`self_attn.linear_${name}_adapter_list`, 2 * dModel, 2 * dModel);
  return {
    gateUp: await adapter("feed_forward.gate_up_proj_adapter_list", dModel, 2 * dFf),
    qkv: c.attentionAdapters
      ? {
          q: await attentionAdapter("q"),
          k: await attentionAdapter("k"),
          v: await attentionAdapter("v"),
        }
      : null,
  };
}

async function loadWeights(c: Zamba2Config, from: WeightLoader): Promise<Zamba2Weights> {
  const { dModel, vocabSize } = c;
  const embeddingTable = await from.matrix(NAMES.embedding, vocabSize, dModel);
  const blocks: { readonly at: string; readonly weights: BlockWeights }[] = [];
  const layers: LayerWeights[] = [];
  for (const [i, hybrid] of c.layers.entries()) {
    const at = NAMES.layer(i);
    const inner = at + (hybrid === null ? NAMES.mamba.plain : NAMES.mamba.hybrid);
    // The file holds a block once, under the first layer that takes it.
    if (hybrid !== null && hybrid < c.nBlock) {
      const block = at + NAMES.shared;
      blocks.push({ at: block, weights: await loadBlock(c, from, block) });
    }
    const block = hybrid === null ? undefined : blocks[hybrid % c.nBlock];
    layers.push({
      norm: await from.vector(`${inner}input_layernorm.weight`, 1, dModel),
      mamba: await loadMamba2Mixer(from, `${inner}mamba.`, c.mamba),
      hybrid:
        hybrid === null || block === undefined
          ? null
          : {
              block: block.weights,
              ...(await loadAdapters(c, from, block.at, hybrid)),
              linear: await from.matrix(at + NAMES.linear, dModel, dModel),
            },
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(NAMES.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(NAMES.head, vocabSize, dModel),
    rotation: c.rotation === null ? null : await loadRotation(from, c.rotation, "halves"),
  };
}

function model(c: Zamba2Config): Model {
  requireMamba2Mixer(c.mamba);
  requireHeads(c.attention);
  const { nHead, nKvHead, headDim } = c.attention;
  requireGeometry(
    !c.attentionAdapters || (nKvHead === nHead && nHead * headDim === 2 * c.dModel),
    `adapters of ${2 * c.dModel} columns on ${nHead} heads and ${nKvHead} key heads of ${headDim}`,
  );
  return {
    modelType: "zamba2",
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: zambaStateLayout(c.layers, {
      mamba: (prefix) => mamba2MixerSlots(prefix, c.mamba),
      attention: (prefix) => attentionLayerSlots(prefix, c.attention),
    }),
    load: async (loader) => recordZamba2(c, await loadWeights(c, loader)),
  };
}

/** Where the file does not say: the layers of Zamba2-2.7B. */
const HYBRID_LAYERS: ReadonlySet<number> = new Set([6, 12, 18, 24, 30, 36, 42, 47, 51]);

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 2560);
  const nHead = config.count(["num_attention_heads"], 32);
  // The library computes these; what a file says of them is not looked at.
  const headDim = Math.floor((2 * dModel) / nHead);
  const dInner = Math.trunc(config.positive(["mamba_expand"], 2) * dModel);
  const nMambaHead = config.count(["n_mamba_heads"], 8);
  const nGroup = config.count(["mamba_ngroups"], 1);
  const bias = config.boolean(["add_bias_linear"], false);
  return model({
    layers: readZambaLayers(config, { nLayer: 54, hybrid: (layer) => HYBRID_LAYERS.has(layer) }),
    nBlock: config.count(["num_mem_blocks"], 1),
    dModel,
    dFf: config.count(["intermediate_size"], 4 * dModel),
    vocabSize: config.count(["vocab_size"], 32_000),
    eps: config.positive(["rms_norm_eps"], 1e-5),
    act: readActivation(config, ["hidden_act"], "gelu"),
    bias,
    adapterRank: config.count(["adapter_rank"], 128),
    attentionAdapters: config.boolean(["use_shared_attention_adapter"], false),
    mamba: {
      dModel,
      nHead: nMambaHead,
      headDim: dInner / nMambaHead,
      nGroup,
      dState: config.count(["mamba_d_state"], 64),
      dConv: config.count(["mamba_d_conv"], 4),
      chunkSize: config.count(["chunk_size"], 256),
      projectionBias: bias,
      // The library gives its convolution a bias whatever `use_conv_bias` says.
      convBias: true,
      act: "silu",
      dtLimit: [config.number(["time_step_min"], 0.001), Infinity],
      output: "gate-norm",
      normEps: 1e-5,
      normGroupSize: dInner / nGroup,
    },
    attention: {
      dIn: 2 * dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.count(["num_key_value_heads"], nHead),
      headDim,
      // Of half a head: the input is twice as wide as the model. arXiv:2405.16712 §2
      scale: (headDim / 2) ** -0.5,
      softCap: null,
      window: null,
      qkvBias: false,
      outBias: false,
      qkNorm: null,
    },
    rotation: config.boolean(["use_mem_rope"], false)
      ? readRotation(config, { headDim, partial: null, maxPositions: 4096 })
      : null,
    tied: config.boolean(["tie_word_embeddings"], true),
  });
}

/** `model_type` "zamba2". */
export const zamba2: Architecture = { fromConfig, fromGguf: noGguf("zamba2") };
