/**
 * Granite 4: Mamba-2 and attention layers, each followed by an MLP and, in most models, by a mixture of experts beside
 * it; multipliers on embedding, residuals, attention scores and logits. Source: transformers
 * `modeling_granitemoehybrid.py` (IBM, 2025; multipliers after Yang et al. 2022, arXiv:2203.03466); for GGUF llama.cpp,
 * which calls it `granitehybrid`, as it does Bamba.
 *
 * T tokens of each of B sequences lie as B * T rows.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { Architecture, Model, RecordRun, RunOptions } from "./architecture.ts";
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
import { loadMlp, mlp, type MlpNames, type MlpWeights } from "./blocks/mlp.ts";
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
import type { WeightLoader } from "./weight-loader.ts";
import {
  ggufDescription,
  readConfig,
  readGgufConfig,
  type GraniteConfig,
} from "./granitemoehybrid-config.ts";

interface LayerWeights {
  readonly norm: Weight; //           (1, dModel)
  readonly mixer:
    | { readonly kind: "mamba"; readonly weights: Mamba2MixerWeights }
    | { readonly kind: "attention"; readonly weights: AttentionWeights };
  readonly feedForwardNorm: Weight; //(1, dModel)
  readonly experts: MoeWeights | null;
  readonly mlp: MlpWeights;
}

interface GraniteWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly rotation: RotationWeights | null;
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer: a mixer, then experts and MLP side by side; each after a norm, each with a scaled residual. */
function graniteLayer(
  k: Recorder,
  c: GraniteConfig,
  w: LayerWeights,
  rotation: RotationWeights | null,
  layer: number,
  phase: RunOptions["phase"],
  x: Tensor,
): Tensor {
  const { act, eps } = c;
  const first = k.state(2 * layer);
  const second = k.state(2 * layer + 1);
  const addTo = (stream: Tensor, part: Tensor): Tensor =>
    scaledAdd(k, { a: stream, b: part, bScale: c.multipliers.residual });
  const normed = rmsNorm(k, { x, weight: w.norm, eps }); // (B * T, dModel)
  // (B * T, dModel)
  const mixed =
    w.mixer.kind === "mamba"
      ? mamba2Mixer(k, c.mamba, w.mixer.weights, { conv: first, ssm: second }, normed, { phase })
      : attentionLayer(
          k,
          c.attention,
          w.mixer.weights,
          rotation,
          { keys: first, values: second },
          normed,
        );
  const stream = addTo(x, mixed); // (B * T, dModel)
  const fed = rmsNorm(k, { x: stream, weight: w.feedForwardNorm, eps }); // (B * T, dModel)
  const chosen =
    c.experts === null || w.experts === null ? null : moe(k, c.experts, w.experts, fed);
  return addTo(stream, mlp(k, w.mlp, fed, { act, residual: chosen })); // (B * T, dModel)
}

function recordGranite(c: GraniteConfig, w: GraniteWeights): RecordRun {
  const { multipliers } = c;
  return (k, { logits, phase }) => {
    let x = scaledAdd(k, { a: embedding(k, w.embedding), aScale: multipliers.embedding }); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      x = graniteLayer(k, c, layer, w.rotation, i, phase, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    const scaled = scaledAdd(k, { a: normed, aScale: multipliers.logits });
    linear(k, scaled, w.head, { into: k.output(scaled.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** Two slots a layer, whatever it is. */
function stateLayout(c: GraniteConfig): StateLayout {
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
    norm: "model.norm.weight",
    head: "lm_head.weight",
    layer: (i: number) => `model.layers.${i}.`,
    layerNorm: "input_layernorm.weight",
    mamba: "mamba.",
    feedForwardNorm: "post_attention_layernorm.weight",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    layerNorm: "attn_norm.weight",
    mamba: "",
    feedForwardNorm: "ffn_norm.weight",
  },
} as const;

/** Beside experts llama.cpp calls the MLP another name. */
function mlpNames(from: WeightLoader, at: string, besideExperts: boolean): MlpNames {
  if (from.format === "safetensors")
    return {
      gateUp: `${at}shared_mlp.input_linear`,
      down: `${at}shared_mlp.output_linear`,
    };
  const suffix = besideExperts ? "_shexp" : "";
  return {
    gateUp: [`${at}ffn_gate${suffix}`, `${at}ffn_up${suffix}`],
    down: `${at}ffn_down${suffix}`,
  };
}

/** Hugging Face keeps gate and up of an expert one below the other. */
function expertNames(from: WeightLoader, at: string, { nExpert, dFf }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const half = (which: number): MoeNames["up"] =>
    eachExpert(nExpert, (expert) => ({
      name: `${at}block_sparse_moe.input_linear.weight`,
      firstRow: (2 * expert + which) * dFf,
      rows: dFf,
    }));
  return {
    router: `${at}block_sparse_moe.router.layer.weight`,
    choiceBias: "",
    gate: half(0),
    up: half(1),
    down: `${at}block_sparse_moe.output_linear.weight`,
  };
}

async function loadLayer(
  c: GraniteConfig,
  from: WeightLoader,
  i: number,
  kind: "mamba" | "attention",
): Promise<LayerWeights> {
  const { dModel, dFf, mlpBias: bias, experts } = c;
  const name = NAMES[from.format];
  const at = name.layer(i);
  return {
    norm: await from.vector(at + name.layerNorm, 1, dModel),
    mixer:
      kind === "mamba"
        ? { kind, weights: await loadMamba2Mixer(from, at + name.mamba, c.mamba) }
        : {
            kind,
            weights: await loadAttention(from, at, ATTENTION_NAMES[from.format], c.attention),
          },
    feedForwardNorm: await from.vector(at + name.feedForwardNorm, 1, dModel),
    experts: experts === null ? null : await loadMoe(from, expertNames(from, at, experts), experts),
    mlp: await loadMlp(from, mlpNames(from, at, experts !== null), { dModel, dFf, bias }),
  };
}

async function loadWeights(c: GraniteConfig, from: WeightLoader): Promise<GraniteWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const rotation = c.rotation === null ? null : await loadRotation(from, c.rotation, "neighbours");
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layers.entries()) layers.push(await loadLayer(c, from, i, kind));
  return {
    embedding: embeddingTable,
    rotation,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: GraniteConfig): Model {
  requireMamba2Mixer(c.mamba);
  requireHeads(c.attention);
  if (c.experts !== null) requireExperts(c.experts);
  const gguf = ggufDescription(c);
  return {
    modelType: "granitemoehybrid",
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordGranite(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "granitemoehybrid"; in GGUF "granitehybrid", which Bamba is there too. */
export const graniteMoeHybrid: Architecture = {
  fromConfig: (json) => model(readConfig(json)),
  fromGguf: (metadata, tensors) => model(readGgufConfig(metadata, tensors)),
};
