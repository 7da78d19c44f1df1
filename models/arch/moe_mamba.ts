/**
 * MoE-Mamba: Mamba layers and mixtures of experts in turn. Source: Pióro et al. 2024 (arXiv:2401.04081), [1] §3.2, fig. 2; Gu & Dao
 * 2023 (arXiv:2312.00752). The authors published no checkpoints, so the files' layout is our own: docs/layouts.md.
 *
 * T tokens of each of B sequences lie as B * T rows.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import type { Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  noGguf,
  requireLayers,
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
import {
  eachExpert,
  loadMoe,
  moe,
  requireExperts,
  type MoeNames,
  type MoeShape,
  type MoeWeights,
} from "./blocks/moe.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface MoeMambaConfig {
  /** Of both kinds: even ones are Mamba, odd ones experts. */
  readonly nLayer: number;
  readonly dModel: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly mamba: MambaMixerShape;
  readonly experts: MoeShape;
  /** The head is the embedding. */
  readonly tied: boolean;
}

type LayerWeights = { readonly norm: Weight } & ( // (1, dModel)
  | { readonly kind: "mamba"; readonly mixer: MambaMixerWeights }
  | { readonly kind: "experts"; readonly moe: MoeWeights }
);

interface MoeMambaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

function recordMoeMamba(c: MoeMambaConfig, w: MoeMambaWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.layers.forEach((layer, i) => {
      const normed = rmsNorm(k, { x, weight: layer.norm, eps: c.eps });
      // Every second layer has a state: its two slots are those of layer i / 2 of the layout.
      x =
        layer.kind === "mamba"
          ? mambaMixer(k, c.mamba, layer.mixer, { conv: k.state(i), ssm: k.state(i + 1) }, normed, {
              residual: x,
            })
          : moe(k, c.experts, layer.moe, normed, { residual: x }); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

function kindOf(layer: number): LayerWeights["kind"] {
  return layer % 2 === 0 ? "mamba" : "experts";
}

const NAMES = {
  embedding: "backbone.embeddings.weight",
  norm: "backbone.norm_f.weight",
  head: "lm_head.weight",
  layer: (i: number) => `backbone.layers.${i}.`,
} as const;

function expertNames(at: string, { nExpert }: MoeShape): MoeNames {
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({ name: `${at}experts.${i}.${matrix}.weight` }));
  return {
    router: `${at}router.weight`,
    choiceBias: "",
    gate: each("gate_proj"),
    up: each("up_proj"),
    down: each("down_proj"),
  };
}

async function loadWeights(c: MoeMambaConfig, from: WeightLoader): Promise<MoeMambaWeights> {
  const { dModel, vocabSize } = c;
  const embeddingTable = await from.matrix(NAMES.embedding, vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) {
    const at = NAMES.layer(i);
    const norm = await from.vector(`${at}norm.weight`, 1, dModel);
    const kind = kindOf(i);
    layers.push(
      kind === "mamba"
        ? { norm, kind, mixer: await loadMambaMixer(from, `${at}mixer.`, c.mamba) }
        : { norm, kind, moe: await loadMoe(from, expertNames(`${at}moe.`, c.experts), c.experts) },
    );
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector(NAMES.norm, 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix(NAMES.head, vocabSize, dModel),
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"]);
  const c: MoeMambaConfig = {
    nLayer: requireLayers(config.count(["num_hidden_layers"])),
    dModel,
    vocabSize: config.count(["vocab_size"]),
    eps: config.positive(["layer_norm_epsilon"], 1e-5),
    mamba: {
      dModel,
      dInner: Math.trunc(config.positive(["expand"], 2) * dModel),
      dState: config.count(["state_size"], 16),
      dConv: config.count(["conv_kernel"], 4),
      dtRank: config.is("time_step_rank", "auto")
        ? Math.ceil(dModel / 16)
        : config.count(["time_step_rank"], Math.ceil(dModel / 16)),
      projectionBias: config.boolean(["use_bias"], false),
      convBias: config.boolean(["use_conv_bias"], true),
      act: "silu",
      innerNorms: "none",
      innerEps: 1e-5,
    },
    // [1] eq. 1, 2: the probabilities of all experts; the best one's counts as it is.
    experts: {
      dModel,
      dExpert: dModel,
      dFf: config.count(["intermediate_size"], 3 * dModel),
      nExpert: config.count(["num_experts"], 32),
      topK: config.count(["num_experts_per_tok"], 1),
      scoring: "softmax",
      choiceBias: false,
      nGroup: 1,
      topKGroup: 1,
      normalise: false,
      scale: 1,
      act: readActivation(config, ["hidden_act"], "relu"),
      gated: config.boolean(["gated_experts"], false),
    },
    tied: config.boolean(["tie_word_embeddings"], false),
  };
  requireMambaMixer(c.mamba);
  requireExperts(c.experts);
  return {
    modelType: "moe_mamba",
    nLayer: c.nLayer,
    dModel,
    vocabSize: c.vocabSize,
    layout: Array.from({ length: c.nLayer }, (_, i) =>
      kindOf(i) === "mamba" ? mambaMixerSlots(`layers.${i}`, c.mamba) : [],
    ).flat(),
    load: async (loader) => recordMoeMamba(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "moe_mamba". */
export const moeMamba: Architecture = { fromConfig, fromGguf: noGguf("moe_mamba") };
