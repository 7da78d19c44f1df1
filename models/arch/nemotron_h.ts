/**
 * Nemotron-H: layers of one part each, a Mamba-2 mixer, attention, an MLP or a mixture of experts, in any order.
 * Source: NVIDIA 2025 (arXiv:2504.03624), [1]; experts and latent projections Nemotron 3 (NVIDIA 2025); transformers
 * `modeling_nemotron_h.py`; for GGUF llama.cpp, which calls it `nemotron_h` or, with experts, `nemotron_h_moe`.
 *
 * T tokens of each of B sequences lie as B * T rows. Attention knows of no positions but through the Mamba layers.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { Architecture, Model, RecordRun, RunOptions } from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  requireHeads,
  type AttentionWeights,
} from "./blocks/attention.ts";
import {
  loadMamba2Mixer,
  mamba2Mixer,
  mamba2MixerSlots,
  requireMamba2Mixer,
  type Mamba2MixerWeights,
} from "./blocks/mamba2-mixer.ts";
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
  type LayerKind,
  type NemotronHConfig,
} from "./nemotron_h-config.ts";

/** x Wupᵀ → act → Wdownᵀ. [1] §2: squared ReLU, no gate. */
interface PlainMlpWeights {
  readonly up: Weight; //             (dFf, dModel)
  readonly upBias: Weight | null; //  (1, dFf)
  readonly down: Weight; //           (dModel, dFf)
  readonly downBias: Weight | null; //(1, dModel)
}

interface ExpertsWeights {
  readonly experts: MoeWeights;
  readonly shared: PlainMlpWeights;
  /** To and from the columns that the experts work on; null where they work on all. */
  readonly latent: {
    readonly down: Weight; //             (dExpert, dModel)
    readonly downBias: Weight | null; //  (1, dExpert)
    readonly up: Weight; //               (dModel, dExpert)
    readonly upBias: Weight | null; //    (1, dModel)
  } | null;
}

type PartWeights =
  | { readonly kind: "mamba"; readonly weights: Mamba2MixerWeights }
  | { readonly kind: "attention"; readonly weights: AttentionWeights }
  | { readonly kind: "mlp"; readonly weights: PlainMlpWeights }
  | { readonly kind: "moe"; readonly weights: ExpertsWeights };

interface LayerWeights {
  readonly norm: Weight; // (1, dModel)
  readonly part: PartWeights;
  /** The first of the layer's state slots. */
  readonly slot: number;
}

interface NemotronHWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

function plainMlp(
  k: Recorder,
  act: Activation,
  w: PlainMlpWeights,
  x: Tensor,
  residual: Tensor,
): Tensor {
  const hidden = activation(k, linear(k, x, w.up, { bias: w.upBias }), act); // (rows, dFf)
  return linear(k, hidden, w.down, { bias: w.downBias, residual }); // (rows, dModel)
}

/** The routed experts, perhaps between two projections, and the MLP that all tokens go through. */
function expertsPart(
  k: Recorder,
  c: NemotronHConfig,
  w: ExpertsWeights,
  x: Tensor,
  residual: Tensor,
): Tensor {
  const { latent } = w;
  if (latent === null) {
    const routed = moe(k, c.experts, w.experts, x, { residual }); // (B * T, dModel)
    return plainMlp(k, c.act, w.shared, x, routed);
  }
  const narrow = linear(k, x, latent.down, { bias: latent.downBias }); // (B * T, dExpert)
  const routed = moe(k, c.experts, w.experts, narrow, { routed: x }); // (B * T, dExpert)
  const wide = linear(k, routed, latent.up, { bias: latent.upBias, residual }); // (B * T, dModel)
  return plainMlp(k, c.act, w.shared, x, wide);
}

/** One layer: a norm, one part, a residual. [1] §2, fig. 2. */
function nemotronHLayer(
  k: Recorder,
  c: NemotronHConfig,
  { norm, part, slot }: LayerWeights,
  phase: RunOptions["phase"],
  x: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x, weight: norm, eps: c.eps }); // (B * T, dModel)
  switch (part.kind) {
    case "mamba": {
      const slots = { conv: k.state(slot), ssm: k.state(slot + 1) };
      return mamba2Mixer(k, c.mamba, part.weights, slots, normed, { phase, residual: x });
    }
    case "attention": {
      const slots = { keys: k.state(slot), values: k.state(slot + 1) };
      return attentionLayer(k, c.attention, part.weights, null, slots, normed, { residual: x });
    }
    case "mlp":
      return plainMlp(k, c.act, part.weights, normed, x);
    case "moe":
      return expertsPart(k, c, part.weights, normed, x);
  }
}

function recordNemotronH(c: NemotronHConfig, w: NemotronHWeights): RecordRun {
  return (k, { logits, phase }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    for (const layer of w.layers) x = nemotronHLayer(k, c, layer, phase, x); // (B * T, dModel)
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** The slots of one layer. */
function layerSlots(c: NemotronHConfig, kind: LayerKind, i: number): readonly StateSlot[] {
  if (kind === "mamba") return mamba2MixerSlots(`layers.${i}`, c.mamba);
  return kind === "attention" ? attentionLayerSlots(`layers.${i}`, c.attention) : [];
}

/** What the files call the weights outside of mixers and experts. */
const NAMES = {
  safetensors: {
    embedding: "backbone.embeddings.weight",
    norm: "backbone.norm_f.weight",
    head: "lm_head.weight",
    layer: (i: number) => `backbone.layers.${i}.`,
    layerNorm: "norm.weight",
    part: "mixer.",
    attention: {
      ...ATTENTION_NAMES.safetensors,
      q: "mixer.q_proj",
      k: "mixer.k_proj",
      v: "mixer.v_proj",
      out: "mixer.o_proj",
    },
    up: "mixer.up_proj",
    down: "mixer.down_proj",
    sharedUp: "mixer.shared_experts.up_proj",
    sharedDown: "mixer.shared_experts.down_proj",
    latentDown: "mixer.fc1_latent_proj",
    latentUp: "mixer.fc2_latent_proj",
  },
  gguf: {
    embedding: "token_embd.weight",
    norm: "output_norm.weight",
    head: "output.weight",
    layer: (i: number) => `blk.${i}.`,
    layerNorm: "attn_norm.weight",
    part: "",
    attention: ATTENTION_NAMES.gguf,
    up: "ffn_up",
    down: "ffn_down",
    sharedUp: "ffn_up_shexp",
    sharedDown: "ffn_down_shexp",
    latentDown: "ffn_latent_down",
    latentUp: "ffn_latent_up",
  },
} as const;

function expertNames(from: WeightLoader, at: string, { nExpert }: MoeShape): MoeNames {
  if (from.format === "gguf") return ggufMoeNames(at);
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({ name: `${at}mixer.experts.${i}.${matrix}.weight` }));
  return {
    router: `${at}mixer.gate.weight`,
    choiceBias: `${at}mixer.gate.e_score_correction_bias`,
    gate: [],
    up: each("up_proj"),
    down: each("down_proj"),
  };
}

async function loadPart(
  c: NemotronHConfig,
  from: WeightLoader,
  at: string,
  kind: LayerKind,
): Promise<PartWeights> {
  const { dModel, mlpBias } = c;
  const { dExpert } = c.experts;
  const name = NAMES[from.format];
  const bias = async (tensor: string, cols: number): Promise<Weight | null> =>
    mlpBias ? from.vector(`${at}${tensor}.bias`, 1, cols) : null;
  const loadPlainMlp = async (up: string, down: string, dFf: number): Promise<PlainMlpWeights> => ({
    up: await from.matrix(`${at}${up}.weight`, dFf, dModel),
    upBias: await bias(up, dFf),
    down: await from.matrix(`${at}${down}.weight`, dModel, dFf),
    downBias: await bias(down, dModel),
  });
  switch (kind) {
    case "mamba":
      return { kind, weights: await loadMamba2Mixer(from, at + name.part, c.mamba) };
    case "attention":
      return { kind, weights: await loadAttention(from, at, name.attention, c.attention) };
    case "mlp":
      return { kind, weights: await loadPlainMlp(name.up, name.down, c.dFf) };
    case "moe":
      return {
        kind,
        weights: {
          experts: await loadMoe(from, expertNames(from, at, c.experts), c.experts),
          shared: await loadPlainMlp(name.sharedUp, name.sharedDown, c.dShared),
          latent: c.latent
            ? {
                down: await from.matrix(`${at}${name.latentDown}.weight`, dExpert, dModel),
                downBias: await bias(name.latentDown, dExpert),
                up: await from.matrix(`${at}${name.latentUp}.weight`, dModel, dExpert),
                upBias: await bias(name.latentUp, dModel),
              }
            : null,
        },
      };
  }
}

async function loadWeights(c: NemotronHConfig, from: WeightLoader): Promise<NemotronHWeights> {
  const { dModel, vocabSize } = c;
  const name = NAMES[from.format];
  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  let slot = 0;
  for (const [i, kind] of c.layers.entries()) {
    const at = name.layer(i);
    layers.push({
      norm: await from.vector(at + name.layerNorm, 1, dModel),
      part: await loadPart(c, from, at, kind),
      slot,
    });
    slot += layerSlots(c, kind, i).length;
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(name.norm, 1, dModel),
    head:
      c.tied && !from.has(name.head)
        ? embeddingTable
        : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: NemotronHConfig): Model {
  requireMamba2Mixer(c.mamba);
  requireHeads(c.attention);
  if (c.layers.includes("moe")) requireExperts(c.experts);
  const gguf = ggufDescription(c);
  return {
    modelType: "nemotron_h",
    nLayer: c.layers.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layers.flatMap((kind, i) => layerSlots(c, kind, i)),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordNemotronH(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "nemotron_h"; in GGUF also "nemotron_h_moe". */
export const nemotronH: Architecture = {
  fromConfig: (json) => model(readConfig(json)),
  fromGguf: (metadata, tensors) => model(readGgufConfig(metadata, tensors)),
};
