/**
 * Mamba-2. Source: Dao & Gu 2024 (arXiv:2405.21060); transformers `modeling_mamba2.py`; for GGUF llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. The mixer itself is in blocks/mamba2-mixer.ts.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  requireGeometry,
  requireLayers,
  requireSilu,
  type Architecture,
  type GgufDescription,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  ggufKnowsMamba2Mixer,
  ggufMamba2Fields,
  ggufMamba2Shapes,
  readGgufMamba2Fields,
} from "./blocks/mamba2-fields.ts";
import {
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
  type Mamba2MixerShape,
  type Mamba2MixerWeights,
} from "./blocks/mamba2-mixer.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface Mamba2Config {
  readonly nLayer: number;
  readonly dModel: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly mixer: Mamba2MixerShape;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface Mamba2Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly {
    readonly norm: Weight; // (1, dModel)
    readonly mixer: Mamba2MixerWeights;
  }[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** Blocks of a norm, a mixer and a residual. arXiv:2405.21060 §7.1, fig. 6. */
function recordMamba2(c: Mamba2Config, w: Mamba2Weights): RecordRun {
  return (k, { logits, phase }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.blocks.forEach(({ norm, mixer }, i) => {
      const normed = rmsNorm(k, { x, weight: norm, eps: c.eps }); // (B * T, dModel)
      const slots = { conv: k.state(2 * i), ssm: k.state(2 * i + 1) };
      x = mamba2Mixer(k, c.mixer, mixer, slots, normed, { phase, residual: x }); // (B * T, dModel)
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
    blockNorm: (i: number) => `backbone.layers.${i}.norm.weight`,
    mixer: (i: number) => `backbone.layers.${i}.mixer.`,
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    blockNorm: (i: number) => `blk.${i}.attn_norm.weight`,
    mixer: (i: number) => `blk.${i}.`,
  },
} as const;

async function loadWeights(c: Mamba2Config, from: WeightLoader): Promise<Mamba2Weights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const blocks: Mamba2Weights["blocks"][number][] = [];
  for (let i = 0; i < c.nLayer; i++) {
    blocks.push({
      norm: await from.vector(name.blockNorm(i), 1, dModel),
      mixer: await loadMamba2Mixer(from, name.mixer(i), c.mixer),
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
  const { mixer } = c;
  requireMamba2Mixer(mixer);
  const gguf = mamba2Gguf({ ...c, ...mixer });
  return {
    modelType: "mamba2",
    nLayer: requireLayers(c.nLayer),
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: Array.from({ length: c.nLayer }, (_, i) =>
      mamba2MixerSlots(`layers.${i}`, mixer),
    ).flat(),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordMamba2(c, await loadWeights(c, loader)),
  };
}

/** How llama.cpp describes a model; null for what it does not know. */
export function mamba2Gguf(
  c: Mamba2MixerShape & { readonly nLayer: number; readonly eps: number },
): GgufDescription | null {
  if (!ggufKnowsMamba2Mixer(c)) return null;
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
      ...ggufMamba2Fields(c),
    },
    shapes: ggufMamba2Shapes(c),
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  requireSilu(config);
  const dModel = config.count(["hidden_size", "d_model"]);
  const eps = config.positive(["layer_norm_epsilon"], 1e-5);
  const nHead = config.count(["num_heads"], 128);
  const headDim = config.count(["head_dim", "headdim"], 64);
  const expanded = config.positive(["expand"], 2) * dModel;
  requireGeometry(
    Math.trunc(expanded) === nHead * headDim,
    `expand · hidden_size is ${expanded}, but num_heads · head_dim is ${nHead * headDim}`,
  );
  return model({
    nLayer: requireLayers(config.count(["num_hidden_layers", "n_layer"])),
    dModel,
    vocabSize: config.count(["vocab_size"]),
    eps,
    mixer: {
      dModel,
      nHead,
      headDim,
      nGroup: config.count(["n_groups", "ngroups"], 8),
      dState: config.count(["state_size", "d_state"], 128),
      dConv: config.count(["conv_kernel", "d_conv"], 4),
      chunkSize: config.count(["chunk_size"], 256),
      projectionBias: config.boolean(["use_bias"], false),
      convBias: config.boolean(["use_conv_bias"], true),
      act: "silu",
      dtLimit: config.range(["time_step_limit"], [0, Infinity]),
      output: "gate-norm",
      normEps: eps,
      // All of dInner; the authors' code and llama.cpp take a group's.
      normGroupSize: nHead * headDim,
    },
    tied: config.boolean(["tie_word_embeddings"], false),
  });
}

/** `model_type` "mamba2". */
export const mamba2: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "mamba2");
    const { gguf } = NAMES;
    const dModel = config.count("embedding_length");
    const eps = config.positive("attention.layer_norm_rms_epsilon");
    return model({
      nLayer: requireLayers(config.count("block_count")),
      dModel,
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps,
      mixer: readGgufMamba2Fields(config, tensors, { dModel, eps, at: gguf.mixer(0) }),
      tied: !tensors.has(gguf.head),
    });
  },
};
