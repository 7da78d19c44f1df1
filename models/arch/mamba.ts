/**
 * Mamba. Source: Gu & Dao 2023 (arXiv:2312.00752), [1]; transformers `modeling_mamba.py`; for GGUF names llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input; u, z: the two halves of its projection;
 * dt: Δ; A, B, C, D, h: the paper's letters.
 */
import { causalConv1d } from "../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { selectiveScan } from "../../kernels/ops/selective-scan/selective-scan.ts";
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
} from "./architecture.ts";
import { ConfigFields } from "./config-fields.ts";
import { falconMamba } from "./falcon_mamba.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface MambaConfig {
  readonly nLayer: number;
  readonly dModel: number;
  readonly dInner: number;
  readonly dState: number;
  readonly dConv: number;
  readonly dtRank: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly projectionBias: boolean;
  readonly convBias: boolean;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface BlockWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly inProj: Weight; //         (2 * dInner, dModel)
  readonly inBias: Weight | null; //  (1, 2 * dInner)
  readonly conv: Weight; //           (dInner, dConv)
  readonly convBias: Weight | null; //(1, dInner)
  readonly xProj: Weight; //          (dtRank + 2 * dState, dInner)
  readonly dtProj: Weight; //         (dInner, dtRank)
  readonly dtBias: Weight; //         (1, dInner)
  readonly A: Weight; //              (dInner, dState), negative
  readonly D: Weight; //              (1, dInner)
  readonly outProj: Weight; //        (dModel, dInner)
  readonly outBias: Weight | null; // (1, dModel)
}

interface MambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly BlockWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One block with its residual; T = 1 is a step of decode, T > 1 a piece of prefill. [1] §3.4, fig. 3. */
function mambaBlock(
  k: Recorder,
  c: MambaConfig,
  w: BlockWeights,
  layer: number,
  x: Tensor,
): Tensor {
  const { dInner, dState, dtRank } = c;
  const normed = rmsNorm(k, { x, weight: w.norm, eps: c.eps }); // (B * T, dModel)
  const projected = linear(k, normed, w.inProj, { bias: w.inBias }); // (B * T, 2 * dInner)
  const [u, z] = split(projected, [dInner, dInner]); // (B * T, dInner) each
  // (B * T, dInner)
  const conv = causalConv1d(k, {
    x: u,
    weight: w.conv,
    bias: w.convBias,
    state: k.state(2 * layer),
    silu: true,
  });
  // (B * T, dtRank), (B * T, dState), (B * T, dState)
  const [dtLow, B, C] = split(linear(k, conv, w.xProj), [dtRank, dState, dState]);
  const dtRaw = linear(k, dtLow, w.dtProj); // (B * T, dInner)
  // (B * T, dInner)  [1] alg. 2
  const y = selectiveScan(k, {
    x: conv,
    dtRaw,
    dtBias: w.dtBias,
    dtSoftplus: true,
    A: w.A,
    B,
    C,
    D: w.D,
    z,
    state: k.state(2 * layer + 1),
    nGroup: 1,
  });
  return linear(k, y, w.outProj, { bias: w.outBias, residual: x }); // (B * T, dModel)
}

function recordMamba(c: MambaConfig, w: MambaWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.blocks.forEach((block, layer) => {
      x = mambaBlock(k, c, block, layer, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

function stateLayout({ nLayer, dInner, dState, dConv }: MambaConfig): StateLayout {
  return Array.from({ length: nLayer }, (_, i) => [
    { name: `layers.${i}.conv`, shape: [dInner, dConv - 1] },
    { name: `layers.${i}.ssm`, shape: [dInner, dState] },
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
    xProj: "mixer.x_proj.weight",
    dtProj: "mixer.dt_proj.weight",
    dtBias: "mixer.dt_proj.bias",
    A: "mixer.A_log",
    D: "mixer.D",
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
    xProj: "ssm_x.weight",
    dtProj: "ssm_dt.weight",
    dtBias: "ssm_dt.bias",
    A: "ssm_a",
    D: "ssm_d",
    outProj: "ssm_out.weight",
    outBias: "ssm_out.bias",
  },
} as const;

async function loadWeights(c: MambaConfig, from: WeightLoader): Promise<MambaWeights> {
  const { dModel, dInner, dState, dConv, dtRank, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const blocks: BlockWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) {
    const at = name.block(i);
    blocks.push({
      norm: await from.vector(at + name.blockNorm, 1, dModel),
      inProj: await from.matrix(at + name.inProj, 2 * dInner, dModel),
      inBias: c.projectionBias ? await from.vector(at + name.inBias, 1, 2 * dInner) : null,
      conv: await from.vector(at + name.conv, dInner, dConv),
      convBias: c.convBias ? await from.vector(at + name.convBias, 1, dInner) : null,
      xProj: await from.matrix(at + name.xProj, dtRank + 2 * dState, dInner),
      dtProj: await from.matrix(at + name.dtProj, dInner, dtRank),
      dtBias: await from.vector(at + name.dtBias, 1, dInner),
      // Hugging Face stores log(−A), GGUF stores A.
      A: await from.vector(
        at + name.A,
        dInner,
        dState,
        from.format === "gguf" ? undefined : (ALog) => -Math.exp(ALog),
      ),
      D: await from.vector(at + name.D, 1, dInner),
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

function model(c: MambaConfig): Model {
  requireGeometry(c.dInner >= 1 && Number.isInteger(c.dInner), `dInner is ${c.dInner}`);
  requireGeometry(c.nLayer <= MAX_LAYERS, `${c.nLayer} layers`);
  requireGeometry(c.dConv >= 2, `a convolution of ${c.dConv} taps has no state`);
  const gguf = mambaGguf(c);
  return {
    modelType: "mamba",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordMamba(c, await loadWeights(c, loader)),
  };
}

/** How llama.cpp describes a model; null for what it does not know: biases in projections, none in the convolution, other widths. */
export function mambaGguf(
  c: Pick<
    MambaConfig,
    | "nLayer"
    | "dModel"
    | "eps"
    | "dConv"
    | "dInner"
    | "dState"
    | "dtRank"
    | "vocabSize"
    | "projectionBias"
    | "convBias"
  >,
): GgufDescription | null {
  if (c.projectionBias || !c.convBias || c.dInner !== 2 * c.dModel) return null;
  return {
    architecture: "mamba",
    fields: {
      block_count: c.nLayer,
      // Of no meaning to a recurrence, but asked for.
      context_length: 2 ** 20,
      embedding_length: c.dModel,
      feed_forward_length: 0,
      "attention.head_count": 0,
      "attention.layer_norm_rms_epsilon": c.eps,
      "ssm.conv_kernel": c.dConv,
      "ssm.inner_size": c.dInner,
      "ssm.state_size": c.dState,
      "ssm.time_step_rank": c.dtRank,
    },
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size", "d_model"]);
  requireSilu(config);
  return model({
    nLayer: config.count(["num_hidden_layers", "n_layer"]),
    dModel,
    // The library computes it from `expand` and does not look at `intermediate_size`.
    dInner: Math.trunc(config.positive(["expand"], 2) * dModel),
    dState: config.count(["state_size", "d_state"], 16),
    dConv: config.count(["conv_kernel", "d_conv"], 4),
    dtRank: config.is("time_step_rank", "auto")
      ? Math.ceil(dModel / 16)
      : config.count(["time_step_rank"], Math.ceil(dModel / 16)),
    vocabSize: config.count(["vocab_size"]),
    eps: config.positive(["layer_norm_epsilon"], 1e-5),
    projectionBias: config.boolean(["use_bias"], false),
    convBias: config.boolean(["use_conv_bias"], true),
    tied: config.boolean(["tie_word_embeddings"], true),
  });
}

/** `model_type` "mamba". */
export const mamba: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "mamba");
    if (config.flag("ssm.dt_b_c_rms")) return falconMamba.fromGguf(metadata, tensors);
    const { gguf } = NAMES;
    return model({
      nLayer: config.count("block_count"),
      dModel: config.count("embedding_length"),
      dInner: config.count("ssm.inner_size"),
      dState: config.count("ssm.state_size"),
      dConv: config.count("ssm.conv_kernel"),
      dtRank: config.count("ssm.time_step_rank"),
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps: config.positive("attention.layer_norm_rms_epsilon"),
      projectionBias: tensors.has(gguf.block(0) + gguf.inBias),
      convBias: tensors.has(gguf.block(0) + gguf.convBias),
      tied: !tensors.has(gguf.head),
    });
  },
};
