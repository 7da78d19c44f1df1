/**
 * OLMo Hybrid: Gated DeltaNet (arXiv:2412.06464) with attention in every fourth layer. Norms stand before the mixer and the
 * MLP of a DeltaNet layer, but behind those of an attention layer (OLMo 2, arXiv:2501.00656 §3.1).
 * Source: transformers `modeling_olmo_hybrid.py`.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject, JsonValue } from "../weights/json.ts";
import {
  noGguf,
  requireGeometry,
  requireLayers,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  ATTENTION_NAMES,
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  requireHeads,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import {
  deltaNetSlots,
  gatedDeltaNet,
  loadDeltaNet,
  requireDeltaNet,
  type DeltaNetShape,
  type DeltaNetWeights,
} from "./blocks/gated-delta-net.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface OlmoHybridConfig {
  readonly dModel: number;
  readonly vocabSize: number;
  readonly dFf: number;
  readonly eps: number;
  readonly act: Activation;
  /** Of each layer. */
  readonly mixers: readonly ("delta" | "attention")[];
  readonly delta: DeltaNetShape;
  readonly attention: AttentionShape;
  /** Null for no positions. */
  readonly rotation: Rotation | null;
  /** The head is the embedding. */
  readonly tied: boolean;
}

type LayerWeights =
  | {
      readonly kind: "delta";
      readonly mixerNorm: Weight; // (1, dModel), before the mixer
      readonly mixer: DeltaNetWeights;
      readonly mlpNorm: Weight; //   (1, dModel), before the MLP
      readonly mlp: MlpWeights;
    }
  | {
      readonly kind: "attention";
      readonly mixer: AttentionWeights;
      readonly mixerNorm: Weight; // (1, dModel), behind the mixer
      readonly mlp: MlpWeights;
      readonly mlpNorm: Weight; //   (1, dModel), behind the MLP
    };

interface OlmoHybridWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly rotation: RotationWeights | null;
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One layer with its two residuals: (B * T, dModel) → the same. */
function layer(
  k: Recorder,
  c: OlmoHybridConfig,
  w: LayerWeights,
  rotation: RotationWeights | null,
  slots: readonly [Tensor, Tensor],
  x: Tensor,
): Tensor {
  const { act, eps } = c;
  const [first, second] = slots;
  const normed = (y: Tensor, weight: Weight): Tensor => rmsNorm(k, { x: y, weight, eps });
  if (w.kind === "delta") {
    const state = { conv: first, recurrent: second };
    const mixed = gatedDeltaNet(k, c.delta, w.mixer, state, normed(x, w.mixerNorm), x);
    return mlp(k, w.mlp, normed(mixed, w.mlpNorm), { act, residual: mixed });
  }
  const state = { keys: first, values: second };
  const attended = attentionLayer(k, c.attention, w.mixer, rotation, state, x);
  const mixed = scaledAdd(k, { a: x, b: normed(attended, w.mixerNorm) });
  return scaledAdd(k, { a: mixed, b: normed(mlp(k, w.mlp, mixed, { act }), w.mlpNorm) });
}

function record(c: OlmoHybridConfig, w: OlmoHybridWeights): RecordRun {
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
function slotsOf(c: OlmoHybridConfig, i: number): readonly StateSlot[] {
  return c.mixers[i] === "delta"
    ? deltaNetSlots(`layers.${i}`, c.delta)
    : attentionLayerSlots(`layers.${i}`, c.attention);
}

/** The first of the names that the file has; published files and the library's own differ. */
function named(from: WeightLoader, at: string, ...names: readonly [string, ...string[]]): string {
  return at + (names.find((name) => from.has(at + name)) ?? names[0]);
}

async function loadLayer(
  from: WeightLoader,
  c: OlmoHybridConfig,
  i: number,
): Promise<LayerWeights> {
  const { dModel, dFf } = c;
  const at = `model.layers.${i}.`;
  const loadFeedForward = (): Promise<MlpWeights> =>
    loadMlp(
      from,
      { gateUp: [`${at}mlp.gate_proj`, `${at}mlp.up_proj`], down: `${at}mlp.down_proj` },
      { dModel, dFf, bias: false },
    );
  const norm = (...names: readonly [string, ...string[]]): Promise<Weight> =>
    from.vector(named(from, at, ...names), 1, dModel);
  if (c.mixers[i] === "attention") {
    return {
      kind: "attention",
      mixer: await loadAttention(from, at, ATTENTION_NAMES.safetensors, c.attention),
      mixerNorm: await norm("post_attention_layernorm.weight", "feedforward_layer_norm.weight"),
      mlp: await loadFeedForward(),
      mlpNorm: await norm("post_feedforward_layernorm.weight"),
    };
  }
  const mixer = `${at}linear_attn.`;
  const each = (names: readonly string[], suffix: string): readonly string[] =>
    names.map((name) => `${mixer}${name}${suffix}`);
  const joined = `${mixer}conv1d.weight`;
  return {
    kind: "delta",
    mixerNorm: await norm("attention_layer_norm.weight", "input_layernorm.weight"),
    mixer: await loadDeltaNet(
      from,
      {
        qkv: each(["q_proj", "k_proj", "v_proj"], ".weight").map((name) => ({ name })),
        z: `${mixer}g_proj.weight`,
        ba: each(["b_proj", "a_proj"], ".weight").map((name) => ({ name })),
        conv: from.has(joined) ? joined : each(["q", "k", "v"], "_conv1d.weight"),
        dtBias: `${mixer}dt_bias`,
        A: `${mixer}A_log`,
        norm: `${mixer}o_norm.weight`,
        out: `${mixer}o_proj.weight`,
      },
      c.delta,
    ),
    mlpNorm: await norm("feedforward_layer_norm.weight", "post_attention_layernorm.weight"),
    mlp: await loadFeedForward(),
  };
}

async function loadWeights(from: WeightLoader, c: OlmoHybridConfig): Promise<OlmoHybridWeights> {
  const { dModel, vocabSize } = c;
  const table = await from.matrix("model.embed_tokens.weight", vocabSize, dModel);
  const rotation = c.rotation && (await loadRotation(from, c.rotation, "halves"));
  const layers: LayerWeights[] = [];
  for (let i = 0; i < c.mixers.length; i++) layers.push(await loadLayer(from, c, i));
  return {
    embedding: table,
    rotation,
    layers,
    norm: await from.vector("model.norm.weight", 1, dModel),
    head: c.tied ? table : await from.matrix("lm_head.weight", vocabSize, dModel),
  };
}

/** The output norm of the delta rule has the eps of the kernels that the published models were trained with. */
const OUTPUT_NORM_EPS = 1e-5;

/** `layer_types`, or attention in every fourth layer, at least in the last. */
function readMixers(config: ConfigFields, nLayer: number): OlmoHybridConfig["mixers"] {
  const types = config.strings(["layer_types"]);
  if (types === null) {
    return Array.from({ length: nLayer }, (_, i) =>
      i % 4 === 3 || (nLayer < 4 && i === nLayer - 1) ? "attention" : "delta",
    );
  }
  requireGeometry(
    types.length === nLayer,
    `layer_types names ${types.length} layers, num_hidden_layers ${nLayer}`,
  );
  return types.map((type) => {
    if (type === "linear_attention" || type === "mamba" || type === "conv") return "delta";
    if (type === "full_attention" || type === "attention") return "attention";
    throw config.unsupported("layer_types", '"linear_attention" or "full_attention" a layer');
  });
}

/**
 * Published models have no positions: their `rope_theta` is there and null. Left out it is 10000.
 * Source: transformers `convert_rope_params_to_dict`.
 */
function hasPositions(json: JsonObject): boolean {
  const parameters = [json["rope_scaling"], json["rope_parameters"]].find(
    (value): value is JsonObject => isObject(value) && Object.keys(value).length > 0,
  );
  const holder =
    parameters !== undefined && Object.hasOwn(parameters, "rope_theta") ? parameters : json;
  return !Object.hasOwn(holder, "rope_theta") || holder["rope_theta"] !== null;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 3840);
  const nLayer = requireLayers(config.count(["num_hidden_layers"], 32));
  const nHead = config.count(["num_attention_heads"], 30);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const eps = config.positive(["rms_norm_eps"], 1e-6);
  const act = readActivation(config, ["hidden_act"], "silu");
  const bias = config.boolean(["attention_bias"], false);
  const nKeyHead = config.count(["linear_num_key_heads"], nHead);
  const headDimK = config.count(["linear_key_head_dim"], Math.trunc((0.75 * dModel) / nKeyHead));
  const maxPositions = config.count(["max_position_embeddings"], 65536);
  const c: OlmoHybridConfig = {
    dModel,
    vocabSize: config.count(["vocab_size"], 100352),
    dFf: config.count(["intermediate_size"], 11008),
    eps,
    act,
    mixers: readMixers(config, nLayer),
    delta: {
      dModel,
      nKeyHead,
      nValueHead: config.count(["linear_num_value_heads"], nHead),
      headDimK,
      headDimV: config.count(["linear_value_head_dim"], 2 * headDimK),
      dConv: config.count(["linear_conv_kernel_dim"], 4),
      act,
      eps: OUTPUT_NORM_EPS,
      betaScale: config.boolean(["linear_allow_neg_eigval"], true) ? 2 : 1,
      keyHeads: "grouped",
    },
    attention: {
      dIn: dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.count(["num_key_value_heads"], nHead),
      headDim,
      scale: 1 / Math.sqrt(headDim),
      softCap: null,
      window: null,
      qkvBias: bias,
      outBias: bias,
      qkNorm: { over: "all", eps },
    },
    rotation: hasPositions(json)
      ? readRotation(config, { headDim, partial: null, maxPositions })
      : null,
    tied: config.boolean(["tie_word_embeddings"], false),
  };
  requireDeltaNet(c.delta);
  requireHeads(c.attention);
  return {
    modelType: "olmo_hybrid",
    nLayer,
    dModel,
    vocabSize: c.vocabSize,
    layout: c.mixers.flatMap((_, i) => slotsOf(c, i)),
    load: async (loader) => record(c, await loadWeights(loader, c)),
  };
}

/** `model_type` "olmo_hybrid". */
export const olmoHybrid: Architecture = { fromConfig, fromGguf: noGguf("olmo_hybrid") };
