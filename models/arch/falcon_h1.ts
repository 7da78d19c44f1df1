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
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  noGguf,
  requireGeometry,
  requireLayers,
  type Architecture,
  type Model,
  type RecordRun,
  type RunOptions,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
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
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

/** What is multiplied where, [1] table 5; 1 for nothing. */
interface Multipliers {
  readonly embedding: number;
  readonly head: number;
  readonly attentionIn: number;
  readonly attentionOut: number;
  readonly key: number;
  readonly ssmIn: number;
  readonly ssmOut: number;
  /** Of the mixer's z, x, B, C and dt. */
  readonly ssm: readonly [z: number, x: number, B: number, C: number, dt: number];
  /** Before the MLP's activation, and behind its output. */
  readonly mlp: readonly [gate: number, down: number];
}

interface FalconH1Config {
  readonly nLayer: number;
  readonly dModel: number;
  readonly dFf: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly act: Activation;
  readonly mlpBias: boolean;
  readonly mamba: Mamba2MixerShape;
  /** Its scale is without the multipliers. */
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  readonly multipliers: Multipliers;
  /** The head is the embedding. */
  readonly tied: boolean;
}

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
    mlpNorm: "ffn_norm.weight",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
  },
} as const;

/** Factors of the mixer's projected columns: z, x, B, C, dt. */
function projectionFactors({ mamba, multipliers }: FalconH1Config): Float32Array<ArrayBuffer> {
  const { nHead, headDim, nGroup, dState } = mamba;
  const widths = [nHead * headDim, nHead * headDim, nGroup * dState, nGroup * dState, nHead];
  const input = mamba.projectionBias ? 1 : multipliers.ssmIn;
  return Float32Array.from(
    widths.flatMap((width, part) =>
      Array.from({ length: width }, () => (multipliers.ssm[part] ?? 1) * input),
    ),
  );
}

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
  return {
    modelType: "falcon_h1",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    load: async (loader) => recordFalconH1(c, await loadWeights(c, loader)),
  };
}

/** The multipliers' fields; what is not there is 1. */
function readMultipliers(config: ConfigFields): Multipliers {
  const one = (field: string): number => config.number([field], 1);
  const list = (field: string, length: number): readonly number[] => {
    const values = config.numbers([field]) ?? Array.from({ length }, () => 1);
    requireGeometry(values.length === length, `${values.length} ${field}, not ${length}`);
    return values;
  };
  const [z = 1, x = 1, B = 1, C = 1, dt = 1] = list("ssm_multipliers", 5);
  const [gateFactor = 1, downFactor = 1] = list("mlp_multipliers", 2);
  return {
    embedding: one("embedding_multiplier"),
    head: one("lm_head_multiplier"),
    attentionIn: one("attention_in_multiplier"),
    attentionOut: one("attention_out_multiplier"),
    key: one("key_multiplier"),
    ssmIn: one("ssm_in_multiplier"),
    ssmOut: one("ssm_out_multiplier"),
    ssm: [z, x, B, C, dt],
    mlp: [gateFactor, downFactor],
  };
}

function readMixer(
  config: ConfigFields,
  c: { readonly dModel: number; readonly eps: number; readonly act: Activation },
): Mamba2MixerShape {
  const { dModel, eps, act } = c;
  // null asks for mamba_expand; 1024 is the default of a field that is not there.
  const dInner = config.isNull("mamba_d_ssm")
    ? Math.trunc(config.positive(["mamba_expand"], 2) * dModel)
    : config.count(["mamba_d_ssm"], 1024);
  const nHead = config.count(["mamba_n_heads"], 128);
  const headDim =
    !config.has("mamba_d_head") || config.is("mamba_d_head", "auto")
      ? Math.floor(dInner / nHead)
      : config.count(["mamba_d_head"]);
  requireGeometry(
    nHead * headDim === dInner,
    `mamba_d_ssm is ${dInner}, but mamba_n_heads · mamba_d_head is ${nHead * headDim}`,
  );
  const nGroup = config.count(["mamba_n_groups"], 1);
  const normFirst = config.boolean(["mamba_norm_before_gate"], true);
  return {
    dModel,
    nHead,
    headDim,
    nGroup,
    dState: config.count(["mamba_d_state"], 256),
    dConv: config.count(["mamba_d_conv"], 4),
    chunkSize: config.count(["mamba_chunk_size"], 256),
    projectionBias: config.boolean(["mamba_proj_bias"], false),
    outBias: config.boolean(["projectors_bias"], false),
    convBias: config.boolean(["mamba_conv_bias"], true),
    act,
    dtLimit: config.range(["time_step_limit"], [0, Infinity]),
    output: !config.boolean(["mamba_rms_norm"], false)
      ? "gate"
      : normFirst
        ? "norm-gate"
        : "gate-norm",
    normEps: eps,
    normGroupSize: dInner / nGroup,
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 4096);
  const eps = config.positive(["rms_norm_eps"], 1e-5);
  const act = readActivation(config, ["hidden_act"], "silu");
  const nHead = config.count(["num_attention_heads"], 32);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const attentionBias = config.boolean(["attention_bias"], false);
  return model({
    nLayer: requireLayers(config.count(["num_hidden_layers"], 32)),
    dModel,
    dFf: config.count(["intermediate_size"], 14_336),
    vocabSize: config.count(["vocab_size"], 128_000),
    eps,
    act,
    mlpBias: config.boolean(["mlp_bias"], false),
    mamba: readMixer(config, { dModel, eps, act }),
    attention: {
      dIn: dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.isNull("num_key_value_heads")
        ? nHead
        : config.count(["num_key_value_heads"], 8),
      headDim,
      scale: headDim ** -0.5,
      softCap: null,
      window: null,
      qkvBias: attentionBias,
      outBias: attentionBias,
      qkNorm: null,
    },
    rotation: readRotation(config, { headDim, partial: null, maxPositions: 8192 }),
    multipliers: readMultipliers(config),
    tied: config.boolean(["tie_word_embeddings"], false),
  });
}

/** `model_type` "falcon_h1". */
export const falconH1: Architecture = { fromConfig, fromGguf: noGguf("falcon_h1") };
