/**
 * The decoder of Qwen3-Next and Qwen3.5: Gated DeltaNet layers with gated attention now and then, each followed by an
 * MLP or by experts with one more that all tokens share. Source: transformers `modeling_qwen3_next.py`,
 * `modeling_qwen3_5.py`; for GGUF llama.cpp. The architectures differ in their defaults and in how files keep DeltaNet.
 */
import { attentionSlots } from "../../../kernels/ops/attention/attention.ts";
import { embedding } from "../../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../../kernels/ops/gate/gate.ts";
import { linear } from "../../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../../kernels/ops/scaled-add/scaled-add.ts";
import type { Activation } from "../../../kernels/spec/activations.ts";
import type { Recorder } from "../../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../../kernels/spec/tensor.ts";
import { lastRows } from "../../../kernels/spec/views.ts";
import type { Model, RecordRun } from "../architecture.ts";
import { requireGeometry, requireLayers } from "../architecture.ts";
import type { WeightLoader } from "../weight-loader.ts";
import { loadRotation, type RotationWeights } from "./attention.ts";
import {
  gatedAttention,
  loadGatedAttention,
  type GatedAttentionShape,
  type GatedAttentionWeights,
} from "./gated-attention.ts";
import {
  deltaNetSlots,
  gatedDeltaNet,
  loadDeltaNet,
  requireDeltaNet,
  type DeltaNetNames,
  type DeltaNetShape,
  type DeltaNetWeights,
} from "./gated-delta-net.ts";
import { loadMlp, mlp, type MlpWeights } from "./mlp.ts";
import {
  eachExpert,
  loadMoe,
  moe,
  requireExperts,
  type MoeNames,
  type MoeShape,
  type MoeWeights,
} from "./moe.ts";
import type { Rotation } from "./rope-frequencies.ts";

/** What follows the mixer of a layer. */
export type FeedForwardShape =
  | { readonly kind: "mlp"; readonly dFf: number }
  /** `dShared`: columns within the expert that all tokens share. */
  | { readonly kind: "experts"; readonly moe: MoeShape; readonly dShared: number };

export interface QwenHybridConfig {
  readonly modelType: string;
  readonly dModel: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly act: Activation;
  /** Of each layer. */
  readonly mixers: readonly ("delta" | "attention")[];
  /** Of each layer. */
  readonly feedForwards: readonly FeedForwardShape[];
  readonly delta: DeltaNetShape;
  readonly attention: GatedAttentionShape;
  readonly rotation: Rotation;
  /** The head is the embedding. */
  readonly tied: boolean;
}

type MixerWeights =
  | { readonly kind: "delta"; readonly weights: DeltaNetWeights }
  | { readonly kind: "attention"; readonly weights: GatedAttentionWeights };

type FeedForwardWeights =
  | { readonly kind: "mlp"; readonly mlp: MlpWeights }
  | {
      readonly kind: "experts";
      readonly shape: MoeShape;
      readonly moe: MoeWeights;
      readonly shared: MlpWeights;
      readonly sharedGate: Weight; // (1, dModel)
    };

interface LayerWeights {
  readonly mixerNorm: Weight; //       (1, dModel)
  readonly mixer: MixerWeights;
  readonly feedForwardNorm: Weight; // (1, dModel)
  readonly feedForward: FeedForwardWeights;
}

interface QwenHybridWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly rotation: RotationWeights;
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer with its two residuals: (B * T, dModel) → the same. */
function layer(
  k: Recorder,
  c: QwenHybridConfig,
  w: LayerWeights,
  rotation: RotationWeights,
  slots: readonly [Tensor, Tensor],
  x: Tensor,
): Tensor {
  const [first, second] = slots;
  const normed = rmsNorm(k, { x, weight: w.mixerNorm, eps: c.eps }); // (B * T, dModel)
  const mixed =
    w.mixer.kind === "delta"
      ? gatedDeltaNet(k, c.delta, w.mixer.weights, { conv: first, recurrent: second }, normed, x)
      : gatedAttention(
          k,
          c.attention,
          w.mixer.weights,
          rotation,
          { keys: first, values: second },
          normed,
          x,
        );
  const inner = rmsNorm(k, { x: mixed, weight: w.feedForwardNorm, eps: c.eps }); // (B * T, dModel)
  return feedForward(k, c.act, w.feedForward, inner, mixed);
}

/** MLP, or Σ chosen experts + σ(x · gate) shared expert: (B * T, dModel) → the same, plus the residual. */
function feedForward(
  k: Recorder,
  act: Activation,
  w: FeedForwardWeights,
  x: Tensor,
  residual: Tensor,
): Tensor {
  if (w.kind === "mlp") return mlp(k, w.mlp, x, { act, residual });
  const shared = gate(k, {
    a: linear(k, x, w.sharedGate), // (B * T, 1)
    b: mlp(k, w.shared, x, { act }), // (B * T, dModel)
    act: "sigmoid",
  });
  return moe(k, w.shape, w.moe, x, { residual: scaledAdd(k, { a: residual, b: shared }) });
}

function record(c: QwenHybridConfig, w: QwenHybridWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.layers.forEach((weights, i) => {
      x = layer(k, c, weights, w.rotation, [k.state(2 * i), k.state(2 * i + 1)], x);
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) });
  };
}

/** Two slots a layer. */
function slotsOf(c: QwenHybridConfig, i: number): readonly StateSlot[] {
  const { nKvHead, headDim } = c.attention;
  return c.mixers[i] === "delta"
    ? deltaNetSlots(`layers.${i}`, c.delta)
    : attentionSlots(`layers.${i}`, {
        nKvHead,
        headDimK: headDim,
        headDimV: headDim,
        window: null,
      });
}

const NAMES = {
  safetensors: {
    norm: "norm.weight",
    mixerNorm: "input_layernorm.weight",
    feedForwardNorm: "post_attention_layernorm.weight",
    mlp: { gateUp: ["mlp.gate_proj", "mlp.up_proj"], down: "mlp.down_proj" },
    shared: {
      gateUp: ["mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj"],
      down: "mlp.shared_expert.down_proj",
    },
    sharedGate: "mlp.shared_expert_gate.weight",
  },
  gguf: {
    norm: "output_norm.weight",
    mixerNorm: "attn_norm.weight",
    feedForwardNorm: "post_attention_norm.weight",
    mlp: { gateUp: ["ffn_gate", "ffn_up"], down: "ffn_down" },
    shared: { gateUp: ["ffn_gate_shexp", "ffn_up_shexp"], down: "ffn_down_shexp" },
    sharedGate: "ffn_gate_inp_shexp.weight",
  },
} as const;

/** Where a file keeps the decoder: its own prefix within models that also see. */
function rootOf(from: WeightLoader): string {
  if (from.format === "gguf") return "";
  return from.has("model.language_model.embed_tokens.weight") ? "model.language_model." : "model.";
}

/** Experts stored one by one, or all in one tensor, gate and up apart or one below the other. */
function expertNames(from: WeightLoader, at: string, { nExpert, dFf }: MoeShape): MoeNames {
  const gguf = from.format === "gguf";
  const router = at + (gguf ? "ffn_gate_inp.weight" : "mlp.gate.weight");
  const named = (matrix: string): string =>
    gguf ? `${at}ffn_${matrix}_exps.weight` : `${at}mlp.experts.0.${matrix}_proj.weight`;
  if (from.has(named("gate"))) {
    const each = (matrix: string): MoeNames["up"] =>
      gguf
        ? named(matrix)
        : eachExpert(nExpert, (i) => ({ name: `${at}mlp.experts.${i}.${matrix}_proj.weight` }));
    return { router, choiceBias: "", gate: each("gate"), up: each("up"), down: each("down") };
  }
  const fused = at + (gguf ? "ffn_gate_up_exps.weight" : "mlp.experts.gate_up_proj");
  const half = (first: number): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({
      name: fused,
      firstRow: 2 * dFf * i + first,
      rows: dFf,
      storedRows: 2 * dFf * nExpert,
    }));
  const down = at + (gguf ? "ffn_down_exps.weight" : "mlp.experts.down_proj");
  return { router, choiceBias: "", gate: half(0), up: half(dFf), down };
}

async function loadFeedForward(
  from: WeightLoader,
  at: string,
  dModel: number,
  shape: FeedForwardShape,
): Promise<FeedForwardWeights> {
  const name = NAMES[from.format];
  const load = (
    { gateUp: [gateName, up], down }: (typeof name)["mlp" | "shared"],
    dFf: number,
  ): Promise<MlpWeights> =>
    loadMlp(
      from,
      { gateUp: [at + gateName, at + up], down: at + down },
      {
        dModel,
        dFf,
        bias: false,
      },
    );
  if (shape.kind === "mlp") return { kind: "mlp", mlp: await load(name.mlp, shape.dFf) };
  return {
    kind: "experts",
    shape: shape.moe,
    moe: await loadMoe(from, expertNames(from, at, shape.moe), shape.moe),
    shared: await load(name.shared, shape.dShared),
    sharedGate: await from.matrix(at + name.sharedGate, 1, dModel),
  };
}

async function loadWeights(
  from: WeightLoader,
  c: QwenHybridConfig,
  deltaNetNames: (from: WeightLoader, at: string) => DeltaNetNames,
): Promise<QwenHybridWeights> {
  const { dModel, vocabSize } = c;
  const gguf = from.format === "gguf";
  const name = NAMES[from.format];
  const root = rootOf(from);
  // Norms hold w − 1, but for DeltaNet's; GGUF files hold w.
  const normMap = gguf ? undefined : (stored: number): number => 1 + stored;
  const table = await from.matrix(
    gguf ? "token_embd.weight" : `${root}embed_tokens.weight`,
    vocabSize,
    dModel,
  );
  const rotation = await loadRotation(from, c.rotation, "halves");
  const layers: LayerWeights[] = [];
  for (const [i, shape] of c.feedForwards.entries()) {
    const at = gguf ? `blk.${i}.` : `${root}layers.${i}.`;
    layers.push({
      mixerNorm: await from.vector(at + name.mixerNorm, 1, dModel, normMap),
      mixer:
        c.mixers[i] === "delta"
          ? { kind: "delta", weights: await loadDeltaNet(from, deltaNetNames(from, at), c.delta) }
          : {
              kind: "attention",
              weights: await loadGatedAttention(from, at, c.attention, normMap),
            },
      feedForwardNorm: await from.vector(at + name.feedForwardNorm, 1, dModel, normMap),
      feedForward: await loadFeedForward(from, at, dModel, shape),
    });
  }
  return {
    embedding: table,
    rotation,
    layers,
    norm: await from.vector(root + name.norm, 1, dModel, normMap),
    head: c.tied
      ? table
      : await from.matrix(gguf ? "output.weight" : "lm_head.weight", vocabSize, dModel),
  };
}

/**
 * The model of a configuration.
 * @param deltaNetNames where a file keeps the tensors of the DeltaNet layer with the prefix `at`
 * @throws WeightsError `malformed` if the dimensions contradict each other
 */
export function qwenHybridModel(
  c: QwenHybridConfig,
  deltaNetNames: (from: WeightLoader, at: string) => DeltaNetNames,
  gguf: Model["gguf"],
): Model {
  const nLayer = requireLayers(c.mixers.length);
  requireDeltaNet(c.delta);
  const { nHead, nKvHead } = c.attention;
  requireGeometry(
    nHead % nKvHead === 0,
    `${nKvHead} key heads do not divide ${nHead} attention heads`,
  );
  for (const shape of c.feedForwards) if (shape.kind === "experts") requireExperts(shape.moe);
  return {
    modelType: c.modelType,
    nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.mixers.flatMap((_, i) => slotsOf(c, i)),
    ...(gguf === undefined ? {} : { gguf }),
    load: async (loader) => record(c, await loadWeights(loader, c, deltaNetNames)),
  };
}
