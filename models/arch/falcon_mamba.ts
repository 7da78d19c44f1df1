/**
 * Falcon Mamba: Mamba with RMS norms, without weights, on dt, B and C. Source: Zuo et al. 2024 (arXiv:2410.05355) §2;
 * Gu & Dao 2023 (arXiv:2312.00752); transformers `modeling_falcon_mamba.py`; for GGUF llama.cpp, which calls it `mamba`.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import {
  type GgufDescription,
  MAX_LAYERS,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  loadMambaMixer,
  mambaMixer,
  mambaMixerSlots,
  requireMambaMixer,
  type MambaMixerShape,
  type MambaMixerWeights,
} from "./blocks/mamba-mixer.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface FalconMambaConfig {
  readonly nLayer: number;
  readonly dModel: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly mixer: MambaMixerShape;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface FalconMambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly { readonly norm: Weight; readonly mixer: MambaMixerWeights }[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

function recordFalconMamba(c: FalconMambaConfig, w: FalconMambaWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      const normed = rmsNorm(k, { x, weight: layer.norm, eps: c.eps }); // (B * T, dModel)
      const slots = { conv: k.state(2 * i), ssm: k.state(2 * i + 1) };
      x = mambaMixer(k, c.mixer, layer.mixer, slots, normed, { residual: x }); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** What the files call the weights outside of the mixers. */
const NAMES = {
  safetensors: {
    embedding: "backbone.embeddings.weight",
    norm: "backbone.norm_f.weight",
    head: "lm_head.weight",
    layerNorm: (i: number) => `backbone.layers.${i}.norm.weight`,
    mixer: (i: number) => `backbone.layers.${i}.mixer.`,
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layerNorm: (i: number) => `blk.${i}.attn_norm.weight`,
    mixer: (i: number) => `blk.${i}.`,
  },
} as const;

async function loadWeights(c: FalconMambaConfig, from: WeightLoader): Promise<FalconMambaWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: FalconMambaWeights["layers"][number][] = [];
  for (let i = 0; i < c.nLayer; i++) {
    layers.push({
      norm: await from.vector(name.layerNorm(i), 1, dModel),
      mixer: await loadMambaMixer(from, name.mixer(i), c.mixer),
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: FalconMambaConfig): Model {
  const { mixer } = c;
  requireGeometry(c.nLayer <= MAX_LAYERS, `${c.nLayer} layers`);
  requireMambaMixer(mixer);
  const gguf = ggufDescription(c);
  return {
    modelType: "falcon_mamba",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: Array.from({ length: c.nLayer }, (_, i) =>
      mambaMixerSlots(`layers.${i}`, mixer),
    ).flat(),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordFalconMamba(c, await loadWeights(c, loader)),
  };
}

/** How llama.cpp describes a model; null for what it does not know. */
function ggufDescription({
  nLayer,
  dModel,
  eps,
  mixer,
}: FalconMambaConfig): GgufDescription | null {
  const known =
    !mixer.projectionBias && mixer.convBias && mixer.act === "silu" && mixer.dInner === 2 * dModel;
  if (!known) return null;
  return {
    architecture: "mamba",
    fields: {
      context_length: 2 ** 20,
      embedding_length: dModel,
      feed_forward_length: 0,
      "attention.head_count": 0,
      block_count: nLayer,
      "ssm.conv_kernel": mixer.dConv,
      "ssm.inner_size": mixer.dInner,
      "ssm.state_size": mixer.dState,
      "ssm.time_step_rank": mixer.dtRank,
      "attention.layer_norm_rms_epsilon": eps,
      "ssm.dt_b_c_rms": true,
      [INNER_EPS]: mixer.innerEps,
    },
  };
}

/** A field of our own: llama.cpp takes the other norms' epsilon for those on dt, B and C, which the published model does not. */
const INNER_EPS = "ssm.dt_b_c_rms_epsilon";

/** `model_type` "falcon_mamba"; a GGUF file's "mamba" with `ssm.dt_b_c_rms`. */
export const falconMamba: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const dModel = config.count(["hidden_size"], 768);
    return model({
      nLayer: config.count(["num_hidden_layers"], 32),
      dModel,
      vocabSize: config.count(["vocab_size"], 50_280),
      eps: config.positive(["layer_norm_epsilon"], 1e-5),
      mixer: {
        dModel,
        // The library computes it from `expand` and does not look at `intermediate_size`.
        dInner: Math.trunc(config.positive(["expand"], 2) * dModel),
        dState: config.count(["state_size"], 16),
        dConv: config.count(["conv_kernel"], 4),
        dtRank: config.is("time_step_rank", "auto")
          ? Math.ceil(dModel / 16)
          : config.count(["time_step_rank"], Math.ceil(dModel / 16)),
        projectionBias: config.boolean(["use_bias"], false),
        convBias: config.boolean(["use_conv_bias"], true),
        act: readActivation(config, ["hidden_act"], "silu"),
        innerEps: config.positive(["mixer_rms_eps"], 1e-6),
        innerNorms: "plain",
      },
      tied: config.boolean(["tie_word_embeddings"], true),
    });
  },

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "mamba");
    const { gguf } = NAMES;
    const dModel = config.count("embedding_length");
    const eps = config.positive("attention.layer_norm_rms_epsilon");
    return model({
      nLayer: config.count("block_count"),
      dModel,
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps,
      mixer: {
        dModel,
        dInner: config.count("ssm.inner_size"),
        dState: config.count("ssm.state_size"),
        dConv: config.count("ssm.conv_kernel"),
        dtRank: config.count("ssm.time_step_rank"),
        projectionBias: tensors.has(`${gguf.mixer(0)}ssm_in.bias`),
        convBias: tensors.has(`${gguf.mixer(0)}ssm_conv1d.bias`),
        act: "silu",
        innerEps: config.positive(INNER_EPS, eps),
        innerNorms: "plain",
      },
      tied: !tensors.has(gguf.head),
    });
  },
};
