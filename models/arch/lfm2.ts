/**
 * LFM2, and what its variant with experts (lfm2_moe.ts) shares with it: all but the configuration. Sources: LFM2 Technical
 * Report (arXiv:2511.23404); transformers `modeling_lfm2.py`, `modeling_lfm2_moe.py`; for GGUF names llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import { requireGeometry, type Architecture, type Model, type RecordRun } from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  requireHeads,
  type AttentionNames,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import {
  eachExpert,
  ggufMoeNames,
  loadMoe,
  moe,
  requireExperts,
  type MoeNames,
  type MoeShape,
  type MoeWeights,
} from "./blocks/moe.ts";
import {
  loadShortConv,
  shortConv,
  shortConvSlot,
  type ShortConvWeights,
} from "./blocks/short-conv.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import {
  lfm2GgufFields,
  readFeedForward,
  readLfm2,
  readLfm2Gguf,
  type LayerType,
  type Lfm2Config,
} from "./lfm2-config.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface LayerWeights {
  readonly operatorNorm: Weight; // (1, dModel)
  readonly operator:
    | { readonly kind: "conv"; readonly weights: ShortConvWeights }
    | { readonly kind: "full_attention"; readonly weights: AttentionWeights };
  readonly ffnNorm: Weight; //      (1, dModel)
  readonly ffn:
    | { readonly kind: "mlp"; readonly weights: MlpWeights }
    | { readonly kind: "moe"; readonly weights: MoeWeights; readonly shape: MoeShape };
}

interface Lfm2Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights;
}

/**
 * The layer's operator, a short convolution or attention, with its residual.
 * @param slot the layer's first
 */
function operatorBlock(
  k: Recorder,
  c: Lfm2Config,
  w: LayerWeights,
  rotation: RotationWeights,
  slot: number,
  x: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x, weight: w.operatorNorm, eps: c.eps }); // (B * T, dModel)
  if (w.operator.kind === "conv")
    return shortConv(k, w.operator.weights, k.state(slot), normed, { residual: x });
  const kv = { keys: k.state(slot), values: k.state(slot + 1) };
  return attentionLayer(k, c.attention, w.operator.weights, rotation, kv, normed, { residual: x });
}

/** The layer's MLP or experts, with their residual. */
function ffnBlock(k: Recorder, c: Lfm2Config, w: LayerWeights, x: Tensor): Tensor {
  const normed = rmsNorm(k, { x, weight: w.ffnNorm, eps: c.eps }); // (B * T, dModel)
  return w.ffn.kind === "mlp"
    ? mlp(k, w.ffn.weights, normed, { act: "silu", residual: x })
    : moe(k, w.ffn.shape, w.ffn.weights, normed, { residual: x }); // (B * T, dModel)
}

function recordLfm2(c: Lfm2Config, w: Lfm2Weights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    let slot = 0;
    for (const layer of w.layers) {
      x = operatorBlock(k, c, layer, w.rotation, slot, x); // (B * T, dModel)
      slot += layer.operator.kind === "conv" ? 1 : 2;
      x = ffnBlock(k, c, layer, x); // (B * T, dModel)
    }
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** What the files call the weights. */
const NAMES = {
  safetensors: {
    embedding: "model.embed_tokens.weight",
    norm: "model.embedding_norm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    operatorNorm: "operator_norm.weight",
    ffnNorm: "ffn_norm.weight",
    gateUp: ["feed_forward.w1", "feed_forward.w3"],
    down: "feed_forward.w2",
  },
  gguf: {
    embedding: "token_embd.weight",
    // Of the head's input, whatever its name says.
    norm: "token_embd_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    operatorNorm: "attn_norm.weight",
    ffnNorm: "ffn_norm.weight",
    gateUp: ["ffn_gate", "ffn_up"],
    down: "ffn_down",
  },
} as const;

const ATTENTION = {
  safetensors: {
    ...ATTENTION_NAMES.safetensors,
    out: "self_attn.out_proj",
    qNorm: "self_attn.q_layernorm",
    kNorm: "self_attn.k_layernorm",
  },
  gguf: ATTENTION_NAMES.gguf,
} as const satisfies Record<WeightLoader["format"], AttentionNames>;

function moeNames(from: WeightLoader, at: string, { nExpert }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (expert) => ({
      name: `${at}feed_forward.experts.${expert}.${matrix}.weight`,
    }));
  return {
    router: `${at}feed_forward.gate.weight`,
    choiceBias: `${at}feed_forward.expert_bias`,
    gate: each("w1"),
    up: each("w3"),
    down: each("w2"),
  };
}

async function loadLayer(
  c: Lfm2Config,
  from: WeightLoader,
  i: number,
  kind: LayerType,
): Promise<LayerWeights> {
  const { dModel, dFf } = c;
  const name = NAMES[from.format];
  const at = name.layer(i);
  const names = ATTENTION[from.format];
  const gateUp = [at + name.gateUp[0], at + name.gateUp[1]] as const;
  return {
    operatorNorm: await from.vector(at + name.operatorNorm, 1, dModel),
    operator:
      kind === "conv"
        ? { kind, weights: await loadShortConv(from, at, c.conv) }
        : { kind, weights: await loadAttention(from, at, names, c.attention) },
    ffnNorm: await from.vector(at + name.ffnNorm, 1, dModel),
    ffn:
      c.moe === null || i < c.nDense
        ? {
            kind: "mlp",
            weights: await loadMlp(
              from,
              { gateUp, down: at + name.down },
              { dModel, dFf, bias: false },
            ),
          }
        : {
            kind: "moe",
            shape: c.moe,
            weights: await loadMoe(from, moeNames(from, at, c.moe), c.moe),
          },
  };
}

async function loadWeights(c: Lfm2Config, from: WeightLoader): Promise<Lfm2Weights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layerTypes.entries()) layers.push(await loadLayer(c, from, i, kind));
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
    rotation: await loadRotation(from, c.rotation, "halves"),
  };
}

/** The model of a configuration. @throws WeightsError `malformed` for dimensions that contradict each other */
export function lfm2Model(c: Lfm2Config): Model {
  requireGeometry(c.conv.dConv >= 2, `a convolution of ${c.conv.dConv} taps has no state`);
  requireGeometry(c.dFf >= 1, "an MLP without columns");
  requireHeads(c.attention);
  if (c.moe !== null) requireExperts(c.moe);
  return {
    modelType: c.modelType,
    nLayer: c.layerTypes.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layerTypes.flatMap((type, i): readonly StateSlot[] =>
      type === "conv"
        ? [shortConvSlot(`layers.${i}`, c.conv)]
        : attentionLayerSlots(`layers.${i}`, c.attention),
    ),
    ...(c.gguf === null ? {} : { gguf: c.gguf }),
    load: async (loader) => recordLfm2(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "lfm2". */
export const lfm2: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const shared = { ...readLfm2(config, { dModel: 2560 }), dFf: readFeedForward(config) };
    const fields = lfm2GgufFields(config, shared);
    return lfm2Model({
      ...shared,
      modelType: "lfm2",
      nDense: shared.layerTypes.length,
      moe: null,
      gguf: fields && { architecture: "lfm2", fields },
    });
  },

  fromGguf(metadata, tensors) {
    const shared = readLfm2Gguf(new GgufFields(metadata, "lfm2"), tensors);
    const nDense = shared.layerTypes.length;
    return lfm2Model({ ...shared, modelType: "lfm2", nDense, moe: null, gguf: null });
  },
};
