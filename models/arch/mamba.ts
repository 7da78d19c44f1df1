/**
 * Mamba. Source: Gu & Dao 2023 (arXiv:2312.00752); transformers `modeling_mamba.py`; for GGUF names llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. The mixer itself is in blocks/mamba-mixer.ts.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  requireLayers,
  requireSilu,
  type Architecture,
  type GgufDescription,
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
import { ConfigFields } from "./config-fields.ts";
import { falconMamba } from "./falcon_mamba.ts";
import { GgufFields } from "./gguf-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface MambaConfig {
  readonly nLayer: number;
  readonly dModel: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly mixer: MambaMixerShape;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface MambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly {
    readonly norm: Weight; // (1, dModel)
    readonly mixer: MambaMixerWeights;
  }[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** Blocks of a norm, a mixer and a residual. arXiv:2312.00752 §3.4, fig. 3. */
function recordMamba(c: MambaConfig, w: MambaWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.blocks.forEach(({ norm, mixer }, i) => {
      const normed = rmsNorm(k, { x, weight: norm, eps: c.eps }); // (B * T, dModel)
      const slots = { conv: k.state(2 * i), ssm: k.state(2 * i + 1) };
      x = mambaMixer(k, c.mixer, mixer, slots, normed, { residual: x }); // (B * T, dModel)
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

async function loadWeights(c: MambaConfig, from: WeightLoader): Promise<MambaWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const blocks: MambaWeights["blocks"][number][] = [];
  for (let i = 0; i < c.nLayer; i++) {
    blocks.push({
      norm: await from.vector(name.blockNorm(i), 1, dModel),
      mixer: await loadMambaMixer(from, name.mixer(i), c.mixer),
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
  const { mixer } = c;
  requireMambaMixer(mixer);
  const gguf = mambaGguf({ ...c, ...mixer });
  return {
    modelType: "mamba",
    nLayer: requireLayers(c.nLayer),
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: Array.from({ length: c.nLayer }, (_, i) =>
      mambaMixerSlots(`layers.${i}`, mixer),
    ).flat(),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordMamba(c, await loadWeights(c, loader)),
  };
}

/** How llama.cpp describes a model; null for what it does not know: biases in projections, none in the convolution, other widths. */
export function mambaGguf(
  c: MambaMixerShape & { readonly nLayer: number; readonly eps: number },
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

/** Of the mixer, whatever the file. */
const PLAIN = { act: "silu", innerNorms: "none", innerEps: 0 } as const;

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size", "d_model"]);
  requireSilu(config);
  return model({
    nLayer: requireLayers(config.count(["num_hidden_layers", "n_layer"])),
    dModel,
    vocabSize: config.count(["vocab_size"]),
    eps: config.positive(["layer_norm_epsilon"], 1e-5),
    mixer: {
      ...PLAIN,
      dModel,
      // The library computes it from `expand` and does not look at `intermediate_size`.
      dInner: Math.trunc(config.positive(["expand"], 2) * dModel),
      dState: config.count(["state_size", "d_state"], 16),
      dConv: config.count(["conv_kernel", "d_conv"], 4),
      dtRank: config.is("time_step_rank", "auto")
        ? Math.ceil(dModel / 16)
        : config.count(["time_step_rank"], Math.ceil(dModel / 16)),
      projectionBias: config.boolean(["use_bias"], false),
      convBias: config.boolean(["use_conv_bias"], true),
    },
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
    const dModel = config.count("embedding_length");
    return model({
      nLayer: requireLayers(config.count("block_count")),
      dModel,
      vocabSize: tensors.info(gguf.embedding).shape[0] ?? 0,
      eps: config.positive("attention.layer_norm_rms_epsilon"),
      mixer: {
        ...PLAIN,
        dModel,
        dInner: config.count("ssm.inner_size"),
        dState: config.count("ssm.state_size"),
        dConv: config.count("ssm.conv_kernel"),
        dtRank: config.count("ssm.time_step_rank"),
        projectionBias: tensors.has(`${gguf.mixer(0)}ssm_in.bias`),
        convBias: tensors.has(`${gguf.mixer(0)}ssm_conv1d.bias`),
      },
      tied: !tensors.has(gguf.head),
    });
  },
};
