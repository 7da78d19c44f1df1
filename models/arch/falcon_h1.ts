/**
 * Falcon-H1: in every layer attention and a Mamba-2 mixer side by side, then an MLP; multipliers in place of learning
 * rates (muP). Source: Zuo et al. 2025 (arXiv:2507.22448), [1] §2.1, 3.2.3; transformers `modeling_falcon_h1.py`; for GGUF
 * llama.cpp, whose files have the multipliers in the matrices.
 *
 * T tokens of each of B sequences lie as B * T rows.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import { type Architecture, type Model, type RecordRun, type RunOptions } from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  requireHeads,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import {
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
  type Mamba2MixerWeights,
} from "./blocks/mamba2-mixer.ts";
import { loadMlp, type MlpWeights } from "./blocks/mlp.ts";
import {
  falconH1Gguf,
  projectionFactors,
  readFalconH1,
  readGgufFalconH1,
  type FalconH1Config,
} from "./falcon_h1-config.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface LayerWeights {
  readonly norm: Weight; //   (1, dModel)
  readonly mamba: Mamba2MixerWeights;
  readonly attention: AttentionWeights;
  readonly mlpNorm: Weight; //(1, dModel)
  readonly mlp: MlpWeights;
}

interface FalconH1Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights;
}

/** factor x, which is x itself for a factor of 1. */
function times(k: Recorder, factor: number, x: Tensor): Tensor {
  return factor === 1 ? x : scaledAdd(k, { a: x, aScale: factor });
}

/** factor x + y */
function timesPlus(k: Recorder, factor: number, x: Tensor, y: Tensor): Tensor {
  return scaledAdd(k, { a: x, aScale: factor, b: y });
}

/** One layer: x + mixer + attention, then the MLP. [1] fig. 2 */
function falconH1Layer(
  k: Recorder,
  c: FalconH1Config,
  w: LayerWeights,
  rotation: RotationWeights,
  layer: number,
  phase: RunOptions["phase"],
  x: Tensor,
): Tensor {
  const { mamba, attention, multipliers: m } = c;
  const slots = { conv: k.state(4 * layer), ssm: k.state(4 * layer + 1) };
  const cache = { keys: k.state(4 * layer + 2), values: k.state(4 * layer + 3) };
  const normed = rmsNorm(k, { x, weight: w.norm, eps: c.eps }); // (B * T, dModel)
  const forMixer = mamba.projectionBias ? times(k, m.ssmIn, normed) : normed; // else in `inScale`
  const mixed = mamba2Mixer(k, mamba, w.mamba, slots, forMixer, { phase }); // (B * T, dModel)
  // A factor of queries, keys and values is one of the scores and one of the sum, unless biases come in between.
  const inFactor = attention.qkvBias ? 1 : m.attentionIn;
  const forAttention = attention.qkvBias ? times(k, m.attentionIn, normed) : normed;
  const scaled = { ...attention, scale: attention.scale * m.key * inFactor ** 2 };
  const attended = attentionLayer(k, scaled, w.attention, rotation, cache, forAttention); // (B * T, dModel)
  const both = timesPlus(k, m.ssmOut, mixed, timesPlus(k, m.attentionOut * inFactor, attended, x));
  const fed = rmsNorm(k, { x: both, weight: w.mlpNorm, eps: c.eps });
  return scaledMlp(k, c, w.mlp, fed, both); // (B * T, dModel)
}

/** down · Wdown(act(gate · x Wgateᵀ) ⊙ x Wupᵀ) + residual: (B * T, dModel) → (B * T, dModel). */
function scaledMlp(
  k: Recorder,
  { act, mlpBias, dFf, multipliers }: FalconH1Config,
  w: MlpWeights,
  x: Tensor,
  residual: Tensor,
): Tensor {
  const [gateFactor, downFactor] = multipliers.mlp;
  const [a, b] = split(linear(k, x, w.gateUp, { bias: w.gateUpBias }), [dFf, dFf]); // (B * T, dFf) × 2
  // The factor of the output may stand here unless a bias comes in between.
  const gain = mlpBias ? 1 : downFactor;
  const plain = gateFactor === 1 && gain === 1;
  const hidden = plain
    ? gate(k, { a, b, act })
    : gate(k, { a: activation(k, a, act, { scale: gateFactor, gain }), b, act: "identity" });
  if (!mlpBias) return linear(k, hidden, w.down, { residual });
  return timesPlus(k, downFactor, linear(k, hidden, w.down, { bias: w.downBias }), residual);
}

function recordFalconH1(c: FalconH1Config, w: FalconH1Weights): RecordRun {
  return (k, { logits, phase }) => {
    let x = times(k, c.multipliers.embedding, embedding(k, w.embedding)); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      x = falconH1Layer(k, c, layer, w.rotation, i, phase, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    const head = times(k, c.multipliers.head, normed);
    linear(k, head, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** Four slots a layer: the mixer's, then keys and values. */
function stateLayout(c: FalconH1Config): StateLayout {
  return Array.from({ length: c.nLayer }, (_, i) => [
    ...mamba2MixerSlots(`layers.${i}`, c.mamba),
    ...attentionLayerSlots(`layers.${i}`, c.attention),
  ]).flat();
}

/** What the files call the weights outside of mixer and attention. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.final_layernorm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    layerNorm: "input_layernorm.weight",
    mamba: "mamba.",
    mlpNorm: "pre_ff_layernorm.weight",
    gate: "feed_forward.gate_proj",
    up: "feed_forward.up_proj",
    down: "feed_forward.down_proj",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    layerNorm: "attn_norm.weight",
    mamba: "",
    mlpNorm: "ffn_norm", // the only norm without ".weight"
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
  },
} as const;

async function loadWeights(c: FalconH1Config, from: WeightLoader): Promise<FalconH1Weights> {
  const { dModel, dFf, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const factors = projectionFactors(c);
  const inScale = factors.every((factor) => factor === 1)
    ? null
    : await from.constant("mixer multipliers", 1, factors.length, factors);
  const layers: LayerWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) {
    const at = name.layer(i);
    layers.push({
      norm: await from.vector(at + name.layerNorm, 1, dModel),
      mamba: await loadMamba2Mixer(from, at + name.mamba, c.mamba, inScale),
      attention: await loadAttention(from, at, ATTENTION_NAMES[from.format], c.attention),
      mlpNorm: await from.vector(at + name.mlpNorm, 1, dModel),
      mlp: await loadMlp(
        from,
        { gateUp: [at + name.gate, at + name.up], down: at + name.down },
        { dModel, dFf, bias: c.mlpBias },
      ),
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
    rotation: await loadRotation(from, c.rotation, "halves"),
  };
}

function model(c: FalconH1Config): Model {
  requireMamba2Mixer(c.mamba);
  requireHeads(c.attention);
  const gguf = falconH1Gguf(c);
  return {
    modelType: "falcon_h1",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordFalconH1(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "falcon_h1", in GGUF "falcon-h1". */
export const falconH1: Architecture = {
  fromConfig: (json) => model(readFalconH1(json)),
  fromGguf: (metadata, tensors) => model(readGgufFalconH1(metadata, tensors)),
};
