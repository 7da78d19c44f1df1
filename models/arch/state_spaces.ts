/**
 * The models of Mamba's authors in their own layout, which has no `model_type`: Mamba, Mamba-2 or Mamba-3 mixers, some layers
 * with attention instead, with or without an MLP behind each. Source: state-spaces/mamba, `models/mixer_seq_simple.py`,
 * `modules/block.py`, `modules/mlp.py`; Gu & Dao 2023 (arXiv:2312.00752), Dao & Gu 2024 (arXiv:2405.21060), Lahoti et al. 2026
 * (arXiv:2603.15569).
 *
 * T tokens of each of B sequences lie as B * T rows.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { layerNorm } from "../../kernels/ops/layer-norm/layer-norm.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  noGguf,
  requireGeometry,
  requireLayers,
  type Architecture,
  type GgufDescription,
  type Model,
  type RecordRun,
  type RunOptions,
} from "./architecture.ts";
import {
  loadMamba3Mixer,
  mamba3Mixer,
  mamba3MixerSlots,
  readMamba3Mixer,
} from "./blocks/mamba3-mixer.ts";
import type { Mamba3MixerShape, Mamba3MixerWeights } from "./blocks/mamba3-mixer.ts";
import {
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
} from "./blocks/mamba2-mixer.ts";
import type { Mamba2MixerShape, Mamba2MixerWeights } from "./blocks/mamba2-mixer.ts";
import {
  loadMambaMixer,
  mambaMixer,
  mambaMixerSlots,
  requireMambaMixer,
} from "./blocks/mamba-mixer.ts";
import type { MambaMixerShape, MambaMixerWeights } from "./blocks/mamba-mixer.ts";
import { loadMha, mha, mhaSlots, readMha, type MhaShape, type MhaWeights } from "./blocks/mha.ts";
import { mlp, type MlpWeights } from "./blocks/mlp.ts";
import { ConfigFields } from "./config-fields.ts";
import { mambaGguf } from "./mamba.ts";
import { mamba2Gguf } from "./mamba2.ts";
import type { WeightLoader } from "./weight-loader.ts";

/** What mixes the tokens in a layer. */
type MixerShape =
  | { readonly kind: "mamba"; readonly shape: MambaMixerShape }
  | { readonly kind: "mamba2"; readonly shape: Mamba2MixerShape }
  | { readonly kind: "mamba3"; readonly shape: Mamba3MixerShape }
  | { readonly kind: "attention"; readonly shape: MhaShape };
type MixerWeights =
  | { readonly kind: "mamba"; readonly shape: MambaMixerShape; readonly weights: MambaMixerWeights }
  | {
      readonly kind: "mamba2";
      readonly shape: Mamba2MixerShape;
      readonly weights: Mamba2MixerWeights;
    }
  | {
      readonly kind: "mamba3";
      readonly shape: Mamba3MixerShape;
      readonly weights: Mamba3MixerWeights;
    }
  | { readonly kind: "attention"; readonly shape: MhaShape; readonly weights: MhaWeights };

interface MixerModelConfig {
  readonly layers: readonly MixerShape[];
  readonly dModel: number;
  /** Columns within the MLP behind each mixer; 0 for none. */
  readonly dFf: number;
  /** Rows of the embedding: the vocabulary and what rounds it up. */
  readonly vocabSize: number;
  readonly norm: "rms" | "layer";
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface NormWeights {
  readonly weight: Weight; //      (1, dModel)
  readonly bias: Weight | null; // (1, dModel), of layer norms
}

interface LayerWeights {
  readonly norm: NormWeights;
  readonly mixer: MixerWeights;
  readonly mlp: { readonly norm: NormWeights; readonly weights: MlpWeights } | null;
}

interface MixerModelWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: NormWeights;
  readonly head: Weight; //      (vocabSize, dModel)
}

/** Of all norms between layers; the authors' code has it fixed. */
const EPS = 1e-5;

function normalise(k: Recorder, { weight, bias }: NormWeights, x: Tensor): Tensor {
  return bias === null
    ? rmsNorm(k, { x, weight, eps: EPS })
    : layerNorm(k, { x, weight, bias, eps: EPS });
}

/** One mixer with its residual: (B * T, dModel) → (B * T, dModel). */
function mix(
  k: Recorder,
  mixer: MixerWeights,
  firstSlot: number,
  phase: RunOptions["phase"],
  normed: Tensor,
  residual: Tensor,
): Tensor {
  const slot = (index: number): Tensor => k.state(firstSlot + index);
  switch (mixer.kind) {
    case "mamba": {
      const slots = { conv: slot(0), ssm: slot(1) };
      return mambaMixer(k, mixer.shape, mixer.weights, slots, normed, { residual });
    }
    case "mamba2": {
      const slots = { conv: slot(0), ssm: slot(1) };
      return mamba2Mixer(k, mixer.shape, mixer.weights, slots, normed, { phase, residual });
    }
    case "mamba3": {
      const slots = { angle: slot(0), ssm: slot(1), k: slot(2), v: slot(3) };
      return mamba3Mixer(k, mixer.shape, mixer.weights, slots, normed, { residual });
    }
    case "attention": {
      const conv = mixer.shape.dConv > 0 ? slot(2) : null;
      const slots = { keys: slot(0), values: slot(1), conv };
      return mha(k, mixer.shape, mixer.weights, slots, normed, { residual });
    }
  }
}

function slotsOf(mixer: MixerShape, prefix: string): readonly StateSlot[] {
  switch (mixer.kind) {
    case "mamba":
      return mambaMixerSlots(prefix, mixer.shape);
    case "mamba2":
      return mamba2MixerSlots(prefix, mixer.shape);
    case "mamba3":
      return mamba3MixerSlots(prefix, mixer.shape);
    case "attention":
      return mhaSlots(prefix, mixer.shape);
  }
}

function recordMixerModel(c: MixerModelConfig, w: MixerModelWeights): RecordRun {
  return (k, { logits, phase }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    let firstSlot = 0;
    w.layers.forEach((layer, i) => {
      x = mix(k, layer.mixer, firstSlot, phase, normalise(k, layer.norm, x), x); // (B * T, dModel)
      if (layer.mlp !== null) {
        const normed = normalise(k, layer.mlp.norm, x);
        x = mlp(k, layer.mlp.weights, normed, { act: "silu", residual: x }); // (B * T, dModel)
      }
      firstSlot += slotsOf(layer.mixer, `layers.${i}`).length;
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = normalise(k, w.norm, wanted);
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** What the files call the weights outside of the mixers. */
const NAMES = {
  safetensors: {
    embedding: "backbone.embedding.weight",
    norm: "backbone.norm_f",
    head: "lm_head.weight",
    layer: (i: number) => `backbone.layers.${i}.`,
    layerNorm: "norm",
    mixer: "mixer.",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    layerNorm: "attn_norm",
    mixer: "",
  },
} as const;

async function loadMixer(from: WeightLoader, at: string, mixer: MixerShape): Promise<MixerWeights> {
  switch (mixer.kind) {
    case "mamba":
      return { ...mixer, weights: await loadMambaMixer(from, at, mixer.shape) };
    case "mamba2":
      return { ...mixer, weights: await loadMamba2Mixer(from, at, mixer.shape) };
    case "mamba3":
      return { ...mixer, weights: await loadMamba3Mixer(from, at, mixer.shape) };
    case "attention":
      return { ...mixer, weights: await loadMha(from, at, mixer.shape) };
  }
}

/** @param prefix what may stand before every name in the file */
async function loadWeights(
  c: MixerModelConfig,
  from: WeightLoader,
  prefix: string,
): Promise<MixerModelWeights> {
  const { dModel, dFf, vocabSize } = c;
  const name = NAMES[from.format];
  const base = from.format === "gguf" || from.has(name.embedding) ? "" : prefix;
  const norm = async (at: string): Promise<NormWeights> => ({
    weight: await from.vector(`${at}.weight`, 1, dModel),
    bias: c.norm === "layer" ? await from.vector(`${at}.bias`, 1, dModel) : null,
  });
  // fc1 has the values first and the gate behind them.
  const gatedMlp = async (at: string): Promise<MlpWeights> => ({
    gateUp: await from.matrix(
      [
        { name: `${at}fc1.weight`, firstRow: dFf, rows: dFf, storedRows: 2 * dFf },
        { name: `${at}fc1.weight`, rows: dFf, storedRows: 2 * dFf },
      ],
      2 * dFf,
      dModel,
    ),
    gateUpBias: null,
    down: await from.matrix(`${at}fc2.weight`, dModel, dFf),
    downBias: null,
  });
  const embeddingTable = await from.matrix(base + name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, mixer] of c.layers.entries()) {
    const at = base + name.layer(i);
    layers.push({
      norm: await norm(at + name.layerNorm),
      mixer: await loadMixer(from, at + name.mixer, mixer),
      mlp:
        dFf === 0 ? null : { norm: await norm(`${at}norm2`), weights: await gatedMlp(`${at}mlp.`) },
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await norm(base + name.norm),
    head: c.tied ? embeddingTable : await from.matrix(base + name.head, vocabSize, dModel),
  };
}

/** The MLP's width is rounded up to this. */
const MLP_MULTIPLE = 128;

/**
 * The model of an authors' configuration.
 * @param prefix what may stand before every name in the file
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function mixerModel(json: JsonObject, prefix = ""): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["d_model"], 2560);
  const nLayer = requireLayers(config.count(["n_layer"], 64));
  const multiple = config.count(["pad_vocab_size_multiple"], 8);
  const ssm = readMixer(config.object(["ssm_cfg"]) ?? new ConfigFields({}), dModel);
  const attentionLayers = new Set(config.numbers(["attn_layer_idx"]) ?? []);
  const attention: MixerShape | null =
    attentionLayers.size === 0
      ? null
      : {
          kind: "attention",
          shape: readMha(config.object(["attn_cfg"]) ?? new ConfigFields({}), dModel),
        };
  return model(
    {
      layers: Array.from({ length: nLayer }, (_, i) =>
        attention !== null && attentionLayers.has(i) ? attention : ssm,
      ),
      dModel,
      dFf: Math.ceil(config.whole(["d_intermediate"], 0) / MLP_MULTIPLE) * MLP_MULTIPLE,
      vocabSize: Math.ceil(config.count(["vocab_size"], 50_277) / multiple) * multiple,
      norm: config.boolean(["rms_norm"], true) ? "rms" : "layer",
      tied: config.boolean(["tie_embeddings"], true),
    },
    ssm,
    prefix,
  );
}

function model(c: MixerModelConfig, ssm: MixerShape, prefix: string): Model {
  const gguf = ggufDescription(c);
  return {
    modelType: ssm.kind,
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layers.flatMap((mixer, i) => slotsOf(mixer, `layers.${i}`)),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordMixerModel(c, await loadWeights(c, loader, prefix)),
  };
}

/** Reads `ssm_cfg`, with the defaults of the authors' modules. */
function readMixer(config: ConfigFields, dModel: number): MixerShape {
  switch (config.string(["layer"], "Mamba1")) {
    case "Mamba1":
      return { kind: "mamba", shape: readMamba(config, dModel) };
    case "Mamba2":
      return { kind: "mamba2", shape: readMamba2(config, dModel) };
    case "Mamba3":
      return { kind: "mamba3", shape: readMamba3Mixer(config, dModel) };
    default:
      throw config.unsupported("layer", '"Mamba1", "Mamba2" or "Mamba3"');
  }
}

function readMamba(config: ConfigFields, dModel: number): MambaMixerShape {
  const shape: MambaMixerShape = {
    dModel,
    dInner: Math.trunc(config.positive(["expand"], 2) * dModel),
    dState: config.count(["d_state"], 16),
    dConv: config.count(["d_conv"], 4),
    dtRank: config.is("dt_rank", "auto")
      ? Math.ceil(dModel / 16)
      : config.count(["dt_rank"], Math.ceil(dModel / 16)),
    projectionBias: config.boolean(["bias"], false),
    convBias: config.boolean(["conv_bias"], true),
    act: "silu",
    innerEps: EPS,
    innerNorms: "none",
  };
  requireMambaMixer(shape);
  return shape;
}

function readMamba2(config: ConfigFields, dModel: number): Mamba2MixerShape {
  const dInner = config.positive(["expand"], 2) * dModel;
  const headDim = config.count(["headdim"], 64);
  const nGroup = config.count(["ngroups"], 1);
  const normFirst = config.boolean(["norm_before_gate"], false);
  if (config.count(["d_ssm"], dInner) !== dInner)
    throw config.unsupported("d_ssm", `${dInner}, which is expand · d_model`);
  if (config.boolean(["D_has_hdim"], false)) throw config.unsupported("D_has_hdim", "false");
  const shape: Mamba2MixerShape = {
    dModel,
    nHead: dInner / headDim,
    headDim,
    nGroup,
    dState: config.count(["d_state"], 128),
    dConv: config.count(["d_conv"], 4),
    chunkSize: config.count(["chunk_size"], 256),
    projectionBias: config.boolean(["bias"], false),
    convBias: config.boolean(["conv_bias"], true),
    act: "silu",
    dtLimit: config.range(["dt_limit"], [0, Infinity]),
    output: !config.boolean(["rmsnorm"], true) ? "gate" : normFirst ? "norm-gate" : "gate-norm",
    normEps: 1e-5,
    normGroupSize: dInner / nGroup,
  };
  requireGeometry(
    Number.isInteger(shape.nHead),
    `heads of ${headDim} do not divide ${dInner} columns`,
  );
  requireMamba2Mixer(shape);
  return shape;
}

/** What llama.cpp knows: Mamba or Mamba-2 in every layer, and nothing else. */
function ggufDescription(c: MixerModelConfig): GgufDescription | null {
  const [mixer] = c.layers;
  const alike = c.layers.every(({ kind }) => kind === mixer?.kind);
  if (mixer === undefined || !alike || c.dFf > 0 || c.norm !== "rms") return null;
  const common = { nLayer: c.layers.length, vocabSize: c.vocabSize, eps: EPS };
  switch (mixer.kind) {
    case "mamba":
      return mambaGguf({ ...mixer.shape, ...common });
    case "mamba2":
      return mixer.shape.output === "gate-norm" ? mamba2Gguf({ ...mixer.shape, ...common }) : null;
    case "mamba3":
    case "attention":
      return null;
  }
}

/** Configurations with `ssm_cfg`, or with `d_model` and `n_layer`. */
export const stateSpaces: Architecture = {
  fromConfig: (json) => mixerModel(json),
  fromGguf: noGguf("state_spaces"),
};
