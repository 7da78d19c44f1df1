/**
 * Mamba-2. Source: Dao & Gu 2024 (arXiv:2405.21060), [1]; transformers `modeling_mamba2.py`; for GGUF llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input; z: the gate; dt: Δ; A (a scalar a head), B, C,
 * D, h: the paper's letters. Heads of a group share B and C.
 */
import { causalConv1d } from "../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gatedRmsNorm } from "../../kernels/ops/gated-rms-norm/gated-rms-norm.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { ssd } from "../../kernels/ops/ssd/ssd.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  MAX_LAYERS,
  requireGeometry,
  requireSilu,
  type Architecture,
  type GgufDescription,
  type Model,
  type RecordRun,
  type RunOptions,
} from "./architecture.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface Mamba2Config {
  readonly nLayer: number;
  readonly dModel: number;
  readonly nHead: number;
  readonly headDim: number;
  readonly nGroup: number;
  readonly dState: number;
  readonly dConv: number;
  readonly chunkSize: number;
  readonly vocabSize: number;
  readonly eps: number;
  /** Columns that share one mean in the gated norm: all of dInner (Hugging Face), or a group's (the authors, llama.cpp). */
  readonly normGroupSize: number;
  /** dt is kept within these in prompts; in decode it is not (transformers 5.17.0 does the same). */
  readonly dtLimit: readonly [number, number];
  readonly projectionBias: boolean;
  readonly convBias: boolean;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface BlockWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly inProj: Weight; //         (2 * dInner + 2 * nGroup * dState + nHead, dModel): z, x, B, C, dt
  readonly inBias: Weight | null; //  (1, the same)
  readonly conv: Weight; //           (convChannels, dConv): x, B, C
  readonly convBias: Weight | null; //(1, convChannels)
  readonly dtBias: Weight; //         (1, nHead)
  readonly A: Weight; //              (1, nHead), negative
  readonly D: Weight; //              (1, nHead)
  readonly gatedNorm: Weight; //      (1, dInner)
  readonly outProj: Weight; //        (dModel, dInner)
  readonly outBias: Weight | null; // (1, dModel)
}

interface Mamba2Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly BlockWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** nHead * headDim */
function dInnerOf({ nHead, headDim }: Mamba2Config): number {
  return nHead * headDim;
}

/** Channels of the convolution: x, B and C go through it together. [1] §7.1 */
function convChannelsOf(c: Mamba2Config): number {
  return dInnerOf(c) + 2 * c.nGroup * c.dState;
}

/** One block with its residual; T = 1 is a step of decode, T > 1 a piece of prefill. [1] §7.1, fig. 6. */
function mamba2Block(
  k: Recorder,
  c: Mamba2Config,
  w: BlockWeights,
  layer: number,
  phase: RunOptions["phase"],
  x: Tensor,
): Tensor {
  const dInner = dInnerOf(c);
  const dBC = c.nGroup * c.dState;
  const [dtMin, dtMax] = phase === "prefill" ? c.dtLimit : [0, Infinity];
  const normed = rmsNorm(k, { x, weight: w.norm, eps: c.eps }); // (B * T, dModel)
  const projected = linear(k, normed, w.inProj, { bias: w.inBias }); // (B * T, all of the next line)
  // (B * T, dInner), (B * T, convChannels), (B * T, nHead)
  const [z, xBC, dtRaw] = split(projected, [dInner, convChannelsOf(c), c.nHead]);
  // (B * T, convChannels)
  const conv = causalConv1d(k, {
    x: xBC,
    weight: w.conv,
    bias: w.convBias,
    state: k.state(2 * layer),
    silu: true,
  });
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
    z: null,
    state: k.state(2 * layer + 1),
    nGroup: c.nGroup,
    chunkSize: c.chunkSize,
  });
  const { eps, normGroupSize: groupSize } = c;
  const gated = gatedRmsNorm(k, { x: y, z, weight: w.gatedNorm, eps, groupSize }); // (B * T, dInner)
  return linear(k, gated, w.outProj, { bias: w.outBias, residual: x }); // (B * T, dModel)
}

function recordMamba2(c: Mamba2Config, w: Mamba2Weights): RecordRun {
  return (k, { logits, phase }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.blocks.forEach((block, layer) => {
      x = mamba2Block(k, c, block, layer, phase, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

function stateLayout(c: Mamba2Config): StateLayout {
  return Array.from({ length: c.nLayer }, (_, i) => [
    { name: `layers.${i}.conv`, shape: [convChannelsOf(c), c.dConv - 1] },
    { name: `layers.${i}.ssm`, shape: [c.nHead, c.headDim, c.dState] },
  ]).flat();
}

/** What the files call the weights. */
const NAMES = {
  safetensors: {
    embedding: "backbone.embeddings.weight",
    norm: "backbone.norm_f.weight",
    head: "lm_head.weight",
    block: (i: number) => `backbone.layers.${i}.`,
    blockNorm: "norm.weight",
    inProj: "mixer.in_proj.weight",
    inBias: "mixer.in_proj.bias",
    conv: "mixer.conv1d.weight",
    convBias: "mixer.conv1d.bias",
    dtBias: "mixer.dt_bias",
    A: "mixer.A_log",
    D: "mixer.D",
    gatedNorm: "mixer.norm.weight",
    outProj: "mixer.out_proj.weight",
    outBias: "mixer.out_proj.bias",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    block: (i: number) => `blk.${i}.`,
    blockNorm: "attn_norm.weight",
    inProj: "ssm_in.weight",
    inBias: "ssm_in.bias",
    conv: "ssm_conv1d.weight",
    convBias: "ssm_conv1d.bias",
    dtBias: "ssm_dt.bias",
    A: "ssm_a",
    D: "ssm_d",
    gatedNorm: "ssm_norm.weight",
    outProj: "ssm_out.weight",
    outBias: "ssm_out.bias",
  },
} as const;

async function loadWeights(c: Mamba2Config, from: WeightLoader): Promise<Mamba2Weights> {
  const { dModel, nHead, dConv, vocabSize } = c;
  const dInner = dInnerOf(c);
  const convChannels = convChannelsOf(c);
  const inRows = dInner + convChannels + nHead;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const blocks: BlockWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) {
    const at = name.block(i);
    blocks.push({
      norm: await from.vector(at + name.blockNorm, 1, dModel),
      inProj: await from.matrix(at + name.inProj, inRows, dModel),
      inBias: c.projectionBias ? await from.vector(at + name.inBias, 1, inRows) : null,
      conv: await from.vector(at + name.conv, convChannels, dConv),
      convBias: c.convBias ? await from.vector(at + name.convBias, 1, convChannels) : null,
      dtBias: await from.vector(at + name.dtBias, 1, nHead),
      // Hugging Face stores log(−A), GGUF stores A.
      A: await from.vector(
        at + name.A,
        1,
        nHead,
        from.format === "gguf" ? undefined : (ALog) => -Math.exp(ALog),
      ),
      D: await from.vector(at + name.D, 1, nHead),
      gatedNorm: await from.vector(at + name.gatedNorm, 1, dInner),
      outProj: await from.matrix(at + name.outProj, dModel, dInner),
      outBias: c.projectionBias ? await from.vector(at + name.outBias, 1, dModel) : null,
    });
  }
  return {
    embedding: embeddingTable,
    blocks,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: Mamba2Config): Model {
  requireGeometry(Number.isInteger(c.headDim), `heads of ${c.headDim}`);
  requireGeometry(c.nHead % c.nGroup === 0, `${c.nGroup} groups do not divide ${c.nHead} heads`);
  requireGeometry(c.nLayer <= MAX_LAYERS, `${c.nLayer} layers`);
  requireGeometry(c.dConv >= 2, `a convolution of ${c.dConv} taps has no state`);
  const gguf = mamba2Gguf(c);
  return {
    modelType: "mamba2",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordMamba2(c, await loadWeights(c, loader)),
  };
}

/** What is said of a model in GGUF. */
type GgufDimensions = Pick<
  Mamba2Config,
  | "nLayer"
  | "dModel"
  | "eps"
  | "dConv"
  | "dState"
  | "nHead"
  | "headDim"
  | "nGroup"
  | "vocabSize"
  | "normGroupSize"
  | "projectionBias"
  | "convBias"
  | "dtLimit"
>;

/**
 * How llama.cpp describes a model; null for what it does not know: norms over all groups, biases in projections, none in the
 * convolution, limits of dt.
 */
export function mamba2Gguf(c: GgufDimensions): GgufDescription | null {
  const dInner = c.nHead * c.headDim;
  const [low, high] = c.dtLimit;
  const known =
    c.normGroupSize * c.nGroup === dInner &&
    !c.projectionBias &&
    c.convBias &&
    low === 0 &&
    high === Infinity;
  if (!known) return null;
  return {
    architecture: "mamba2",
    fields: {
      block_count: c.nLayer,
      // Of no meaning to a recurrence, but asked for.
      context_length: 2 ** 20,
      embedding_length: c.dModel,
      feed_forward_length: 0,
      "attention.head_count": 0,
      "attention.layer_norm_rms_epsilon": c.eps,
      "ssm.conv_kernel": c.dConv,
      "ssm.inner_size": dInner,
      "ssm.state_size": c.dState,
      "ssm.time_step_rank": c.nHead,
      "ssm.group_count": c.nGroup,
    },
    shapes: {
      ssm_a: [c.nHead, 1],
      ssm_d: [c.nHead, 1],
      "ssm_norm.weight": [c.nGroup, dInner / c.nGroup],
    },
  };
}

/** Q where the file does not name one. Any Q gives the same numbers; this one suits the matrix products. */
const DEFAULT_CHUNK_SIZE = 64;

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  requireSilu(config);
  const dModel = config.count(["hidden_size", "d_model"]);
  const nHead = config.count(["num_heads"], 128);
  const headDim = config.count(["head_dim", "headdim"], 64);
  const expanded = config.positive(["expand"], 2) * dModel;
  requireGeometry(
    Math.trunc(expanded) === nHead * headDim,
    `expand · hidden_size is ${expanded}, but num_heads · head_dim is ${nHead * headDim}`,
  );
  return model({
    nLayer: config.count(["num_hidden_layers", "n_layer"]),
    dModel,
    nHead,
    headDim,
    nGroup: config.count(["n_groups", "ngroups"], 8),
    dState: config.count(["state_size", "d_state"], 128),
    dConv: config.count(["conv_kernel", "d_conv"], 4),
    chunkSize: config.count(["chunk_size"], 256),
    vocabSize: config.count(["vocab_size"]),
    eps: config.positive(["layer_norm_epsilon"], 1e-5),
    normGroupSize: nHead * headDim,
    dtLimit: config.range(["time_step_limit"], [0, Infinity]),
    projectionBias: config.boolean(["use_bias"], false),
    convBias: config.boolean(["use_conv_bias"], true),
    tied: config.boolean(["tie_word_embeddings"], false),
  });
}

/** `model_type` "mamba2". */
export const mamba2: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "mamba2");
    const { gguf } = NAMES;
    const dInner = config.count("ssm.inner_size");
    // llama.cpp keeps the number of heads in this field.
    const nHead = config.count("ssm.time_step_rank");
    const nGroup = config.count("ssm.group_count");
    return model({
      nLayer: config.count("block_count"),
      dModel: config.count("embedding_length"),
      nHead,
      headDim: dInner / nHead,
      nGroup,
      dState: config.count("ssm.state_size"),
      dConv: config.count("ssm.conv_kernel"),
      chunkSize: DEFAULT_CHUNK_SIZE,
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps: config.positive("attention.layer_norm_rms_epsilon"),
      normGroupSize: dInner / nGroup,
      dtLimit: [0, Infinity],
      projectionBias: tensors.has(gguf.block(0) + gguf.inBias),
      convBias: tensors.has(gguf.block(0) + gguf.convBias),
      tied: !tensors.has(gguf.head),
    });
  },
};
