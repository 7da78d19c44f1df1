/**
 * Bamba: Mamba-2 layers with an attention layer now and then, each followed by an MLP. Source: transformers
 * `modeling_bamba.py` (the model of IBM, Princeton, CMU and UIUC, 2024; it has no paper of its own); for GGUF llama.cpp,
 * which calls it `granitehybrid`.
 *
 * T tokens of each of B sequences lie as B * T rows.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  requireLayers,
  type Architecture,
  type GgufDescription,
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
  neighbourOrder,
  plainAttention,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import {
  ggufKnowsMamba2Mixer,
  ggufMamba2Fields,
  ggufMamba2Shapes,
  readMamba2Fields,
} from "./blocks/mamba2-fields.ts";
import {
  dInnerOf,
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
  type Mamba2MixerShape,
  type Mamba2MixerWeights,
} from "./blocks/mamba2-mixer.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import { graniteMoeHybrid } from "./granitemoehybrid.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface BambaConfig {
  /** What mixes in each layer. */
  readonly layers: readonly ("mamba" | "attention")[];
  readonly dModel: number;
  readonly dFf: number;
  readonly mlpBias: boolean;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly eps: number;
  readonly act: Activation;
  readonly mamba: Mamba2MixerShape;
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface LayerWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly mixer:
    | { readonly kind: "mamba"; readonly weights: Mamba2MixerWeights }
    | { readonly kind: "attention"; readonly weights: AttentionWeights };
  readonly feedForwardNorm: Weight; //(1, dModel)
  readonly feedForward: MlpWeights;
}

interface BambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly rotation: RotationWeights;
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer: a mixer and an MLP, each after a norm and with a residual. */
function bambaLayer(
  k: Recorder,
  c: BambaConfig,
  w: LayerWeights,
  rotation: RotationWeights,
  layer: number,
  phase: RunOptions["phase"],
  x: Tensor,
): Tensor {
  const first = k.state(2 * layer);
  const second = k.state(2 * layer + 1);
  const normed = rmsNorm(k, { x, weight: w.norm, eps: c.eps }); // (B * T, dModel)
  // (B * T, dModel)
  const mixed =
    w.mixer.kind === "mamba"
      ? mamba2Mixer(k, c.mamba, w.mixer.weights, { conv: first, ssm: second }, normed, {
          phase,
          residual: x,
        })
      : attentionLayer(
          k,
          c.attention,
          w.mixer.weights,
          rotation,
          { keys: first, values: second },
          normed,
          { residual: x },
        );
  const fed = rmsNorm(k, { x: mixed, weight: w.feedForwardNorm, eps: c.eps }); // (B * T, dModel)
  return mlp(k, w.feedForward, fed, { act: c.act, residual: mixed }); // (B * T, dModel)
}

function recordBamba(c: BambaConfig, w: BambaWeights): RecordRun {
  return (k, { logits, phase }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      x = bambaLayer(k, c, layer, w.rotation, i, phase, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** Two slots a layer, whatever it is. */
function stateLayout(c: BambaConfig): StateLayout {
  return c.layers.flatMap((kind, i) =>
    kind === "mamba"
      ? mamba2MixerSlots(`layers.${i}`, c.mamba)
      : attentionLayerSlots(`layers.${i}`, c.attention),
  );
}

/** What the files call the weights outside of the mixers. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.final_layernorm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    layerNorm: "input_layernorm.weight",
    mamba: "mamba.",
    feedForwardNorm: "pre_ff_layernorm.weight",
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
    feedForwardNorm: "ffn_norm.weight",
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
  },
} as const;

async function loadWeights(c: BambaConfig, from: WeightLoader): Promise<BambaWeights> {
  const { dModel, dFf, vocabSize, mlpBias: bias } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const rotation = await loadRotation(from, c.rotation, "neighbours");
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layers.entries()) {
    const at = name.layer(i);
    layers.push({
      norm: await from.vector(at + name.layerNorm, 1, dModel),
      mixer:
        kind === "mamba"
          ? { kind, weights: await loadMamba2Mixer(from, at + name.mamba, c.mamba) }
          : {
              kind,
              weights: await loadAttention(from, at, ATTENTION_NAMES[from.format], c.attention),
            },
      feedForwardNorm: await from.vector(at + name.feedForwardNorm, 1, dModel),
      feedForward: await loadMlp(
        from,
        { gateUp: [at + name.gate, at + name.up], down: at + name.down },
        { dModel, dFf, bias },
      ),
    });
  }
  return {
    embedding: embeddingTable,
    rotation,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

/** How llama.cpp describes the same model, or null where it has no words for it. */
function ggufDescription(c: BambaConfig): GgufDescription | null {
  const { mamba, attention } = c;
  const known =
    ggufKnowsMamba2Mixer(mamba) &&
    // llama.cpp asserts it.
    dInnerOf(mamba) === 2 * c.dModel &&
    c.act === "silu" &&
    c.rotation.gguf !== undefined;
  if (!known) return null;
  return {
    architecture: "granitehybrid",
    fields: {
      block_count: c.layers.length,
      context_length: c.maxPositions,
      embedding_length: c.dModel,
      feed_forward_length: c.dFf,
      "attention.head_count": attention.nHead,
      // No key heads: a Mamba layer.
      "attention.head_count_kv": c.layers.map((kind) =>
        kind === "attention" ? attention.nKvHead : 0,
      ),
      "attention.key_length": attention.headDim,
      "attention.value_length": attention.headDim,
      "attention.layer_norm_rms_epsilon": c.eps,
      ...c.rotation.gguf,
      // So llama.cpp tells models with a rotation from those without.
      "rope.scaling.finetuned": true,
      ...ggufMamba2Fields(mamba),
    },
    shapes: ggufMamba2Shapes(mamba),
  };
}

function model(c: BambaConfig): Model {
  requireMamba2Mixer(c.mamba);
  requireHeads(c.attention);
  const gguf = ggufDescription(c);
  return {
    modelType: "bamba",
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordBamba(c, await loadWeights(c, loader)),
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
  const maxPositions = config.count(["max_position_embeddings"], 262_144);
  // The library sets the part that turns itself, unless `rope_parameters` name one.
  const rotation = readRotation(config, { headDim, partial: 0.5, maxPositions });
  const attentionLayers = new Set(config.numbers(["attn_layer_indices"]) ?? []);
  return model({
    layers: Array.from({ length: requireLayers(config.count(["num_hidden_layers"], 32)) }, (_, i) =>
      attentionLayers.has(i) ? "attention" : "mamba",
    ),
    dModel,
    dFf: config.count(["intermediate_size"], 14_336),
    mlpBias: config.boolean(["mlp_bias"], false),
    vocabSize: config.count(["vocab_size"], 128_000),
    maxPositions,
    eps,
    act,
    mamba: readMamba2Fields(config, { dModel, eps, act }),
    attention: {
      // null means one for each query head; 8 is the default of a field that is not there.
      ...plainAttention({
        dModel,
        nHead,
        nKvHead: config.isNull("num_key_value_heads")
          ? nHead
          : config.count(["num_key_value_heads"], 8),
        headDim,
      }),
      qkvBias: attentionBias,
      outBias: attentionBias,
      qkOrder: neighbourOrder(2 * rotation.frequencies.length),
    },
    rotation,
    tied: config.boolean(["tie_word_embeddings"], false),
  });
}

/** `model_type` "bamba". Its GGUF files say `granitehybrid`, of which it is a case. */
export const bamba: Architecture = { fromConfig, fromGguf: graniteMoeHybrid.fromGguf };
