/**
 * MiniMax-Text-01: lightning attention, full attention, experts in every layer. Sources: MiniMax 2025 (arXiv:2501.08313),
 * [1]; lightning attention Qin et al. 2024 (arXiv:2401.04658), [2]; transformers `modeling_minimax.py`.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import { ssd } from "../../kernels/ops/ssd/ssd.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { columns, lastRows, split } from "../../kernels/spec/views.ts";
import {
  MAX_LAYERS,
  noGguf,
  requireGeometry,
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
  eachExpert,
  loadMoe,
  moe,
  requireExperts,
  type MoeNames,
  type MoeShape,
  type MoeWeights,
} from "./blocks/moe.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

type LayerType = "linear_attention" | "full_attention";

/** residual · alpha + output · beta, the residual being the *normed* input. [1] §2.2.2 */
interface ResidualFactors {
  readonly alpha: number;
  readonly beta: number;
}

interface MiniMaxConfig {
  readonly layerTypes: readonly LayerType[];
  readonly dModel: number;
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  readonly experts: MoeShape;
  readonly act: Activation;
  readonly residual: Readonly<Record<LayerType | "mlp", ResidualFactors>>;
  readonly vocabSize: number;
  readonly eps: number;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface LightningWeights {
  readonly qkv: Weight; //   (3 * nHead * headDim, dModel): q, k, v
  readonly decay: Weight; // (1, nHead): minus the slope
  readonly ones: Weight; //  (1, nHead)
  readonly norm: Weight; //  (1, nHead * headDim)
  readonly gate: Weight; //  (nHead * headDim, dModel)
  readonly out: Weight; //   (dModel, nHead * headDim)
}

interface LayerWeights {
  readonly attentionNorm: Weight; // (1, dModel)
  readonly attention:
    | { readonly kind: "linear_attention"; readonly weights: LightningWeights }
    | { readonly kind: "full_attention"; readonly weights: AttentionWeights };
  readonly expertsNorm: Weight; //   (1, dModel)
  readonly experts: MoeWeights;
}

interface MiniMaxWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights;
}

/** Of the norm behind lightning attention, whatever the model's other norms have. */
const LIGHTNING_EPS = 1e-6;
/** Q of the chunks. The model's own `block_size` changes nothing but rounding. */
const CHUNK_SIZE = 64;

/**
 * Linear attention with a fixed decay: for each head h[t] = e^−slope h[t−1] + v[t] ⊗ k[t]; y[t] = h[t] q[t]. That is Mamba-2's
 * recurrence with dt = 1, A = −slope, x = v, B = k, C = q. [2] §3.1, eq. 5
 */
function lightningAttention(
  k: Recorder,
  c: MiniMaxConfig,
  w: LightningWeights,
  state: Tensor,
  x: Tensor,
): Tensor {
  const { nHead, headDim } = c.attention;
  const width = nHead * headDim;
  const qkv = activation(k, linear(k, x, w.qkv), c.act); // (B * T, 3 * width)
  const [q, keys, v] = split(qkv, [width, width, width]); // (B * T, width) × 3
  const ones = scaledAdd(k, { a: columns(qkv, 0, nHead), aScale: 0, bias: w.ones }); // (B * T, nHead)
  // (B * T, width)
  const y = ssd(k, {
    x: v,
    dtRaw: ones,
    dtBias: null,
    dtSoftplus: false,
    dtMin: 0,
    dtMax: Infinity,
    A: w.decay,
    B: keys,
    C: q,
    D: null,
    z: null,
    state,
    nGroup: nHead,
    chunkSize: CHUNK_SIZE,
  });
  const normed = rmsNorm(k, { x: y, weight: w.norm, eps: LIGHTNING_EPS }); // (B * T, width)
  const gated = gate(k, { a: linear(k, x, w.gate), b: normed, act: "sigmoid" }); // (B * T, width)
  return linear(k, gated, w.out); // (B * T, dModel)
}

/** Attention of one kind or the other, then experts. [1] §2.2, fig. 3. */
function layerBlock(
  k: Recorder,
  c: MiniMaxConfig,
  w: LayerWeights,
  rotation: RotationWeights,
  slot: number,
  x: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x, weight: w.attentionNorm, eps: c.eps }); // (B * T, dModel)
  const { kind } = w.attention;
  const mixed =
    w.attention.kind === "linear_attention"
      ? lightningAttention(k, c, w.attention.weights, k.state(slot), normed)
      : attentionLayer(
          k,
          c.attention,
          w.attention.weights,
          rotation,
          { keys: k.state(slot), values: k.state(slot + 1) },
          normed,
        ); // (B * T, dModel)
  const y = addResidual(k, c.residual[kind], normed, mixed);
  const wide = rmsNorm(k, { x: y, weight: w.expertsNorm, eps: c.eps }); // (B * T, dModel)
  return addResidual(k, c.residual.mlp, wide, moe(k, c.experts, w.experts, wide));
}

function addResidual(
  k: Recorder,
  { alpha, beta }: ResidualFactors,
  residual: Tensor,
  output: Tensor,
): Tensor {
  return scaledAdd(k, { a: residual, aScale: alpha, b: output, bScale: beta });
}

function recordMiniMax(c: MiniMaxConfig, w: MiniMaxWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    let slot = 0;
    for (const layer of w.layers) {
      x = layerBlock(k, c, layer, w.rotation, slot, x); // (B * T, dModel)
      slot += layer.attention.kind === "linear_attention" ? 1 : 2;
    }
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

function layerSlots(c: MiniMaxConfig, type: LayerType, i: number): readonly StateSlot[] {
  const { nHead, headDim } = c.attention;
  return type === "linear_attention"
    ? [{ name: `layers.${i}.recurrent`, shape: [nHead, headDim, headDim] }] // values, keys
    : attentionLayerSlots(`layers.${i}`, c.attention);
}

/** ALiBi's slopes, less steep from layer to layer. [2] §4; [1] §2.2.1 */
function slopes(nHead: number, layer: number, nLayer: number): Float32Array {
  const factor = 1 - layer / (nLayer - 1 + 1e-5) + 1e-5;
  return Float32Array.from(
    { length: nHead },
    (_, head) => 2 ** ((-8 * (head + 1)) / nHead) * factor,
  );
}

async function loadLightning(
  c: MiniMaxConfig,
  from: WeightLoader,
  at: string,
  layer: number,
): Promise<LightningWeights> {
  const { dModel } = c;
  const { nHead, headDim } = c.attention;
  const width = nHead * headDim;
  // In the file q, k and v of one head lie together.
  const order = (row: number): number => {
    const part = Math.floor(row / width);
    const head = Math.floor((row % width) / headDim);
    return (head * 3 + part) * headDim + (row % headDim);
  };
  const slopeRate = `${at}slope_rate`;
  return {
    qkv: await from.matrix([{ name: `${at}qkv_proj.weight`, order }], 3 * width, dModel),
    decay: from.has(slopeRate)
      ? await from.vector(slopeRate, 1, nHead, (slope) => -slope)
      : await from.constant(
          "decay",
          1,
          nHead,
          slopes(nHead, layer, c.layerTypes.length).map((slope) => -slope),
        ),
    ones: await from.constant("ones", 1, nHead, new Float32Array(nHead).fill(1)),
    norm: await from.vector(`${at}norm.weight`, 1, width),
    gate: await from.matrix(`${at}output_gate.weight`, width, dModel),
    out: await from.matrix(`${at}out_proj.weight`, dModel, width),
  };
}

function expertNames(at: string, nExpert: number): MoeNames {
  const each = (matrix: string): MoeNames["up"] =>
    eachExpert(nExpert, (i) => ({ name: `${at}experts.${i}.${matrix}.weight` }));
  return {
    router: `${at}gate.weight`,
    choiceBias: "",
    gate: each("w1"),
    up: each("w3"),
    down: each("w2"),
  };
}

async function loadWeights(c: MiniMaxConfig, from: WeightLoader): Promise<MiniMaxWeights> {
  const { dModel, vocabSize } = c;
  const embeddingTable = await from.matrix("model.embed_tokens.weight", vocabSize, dModel);
  const layers: LayerWeights[] = [];
  for (const [i, kind] of c.layerTypes.entries()) {
    const at = `model.layers.${i}.`;
    const names = ATTENTION_NAMES.safetensors;
    layers.push({
      attentionNorm: await from.vector(`${at}input_layernorm.weight`, 1, dModel),
      attention:
        kind === "linear_attention"
          ? { kind, weights: await loadLightning(c, from, `${at}self_attn.`, i) }
          : { kind, weights: await loadAttention(from, at, names, c.attention) },
      expertsNorm: await from.vector(`${at}post_attention_layernorm.weight`, 1, dModel),
      experts: await loadMoe(
        from,
        expertNames(`${at}block_sparse_moe.`, c.experts.nExpert),
        c.experts,
      ),
    });
  }
  return {
    embedding: embeddingTable,
    layers,
    norm: await from.vector("model.norm.weight", 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix("lm_head.weight", vocabSize, dModel),
    rotation: await loadRotation(from, c.rotation, "halves"),
  };
}

/** `layer_types`; by default full and linear attention in turn. */
function readLayerTypes(config: ConfigFields): readonly LayerType[] {
  const nLayer = config.count(["num_hidden_layers"], 32);
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  const types = config.strings(["layer_types"]);
  if (types === null) {
    return Array.from({ length: nLayer }, (_, i) =>
      i % 2 === 0 ? "full_attention" : "linear_attention",
    );
  }
  requireGeometry(types.length === nLayer, `${types.length} layer_types for ${nLayer} layers`);
  return types.map((type) => {
    if (type === "full_attention" || type === "linear_attention") return type;
    throw config.unsupported("layer_types", '"full_attention" and "linear_attention"');
  });
}

function model(c: MiniMaxConfig): Model {
  requireHeads(c.attention);
  requireExperts(c.experts);
  return {
    modelType: "minimax",
    nLayer: c.layerTypes.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layerTypes.flatMap((type, i) => layerSlots(c, type, i)),
    load: async (loader) => recordMiniMax(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "minimax". */
export const minimax: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const dModel = config.count(["hidden_size"], 4096);
    const nHead = config.count(["num_attention_heads"], 32);
    const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
    const act = readActivation(config, ["hidden_act"], "silu");
    const factors = (name: string): ResidualFactors => ({
      alpha: config.number([`${name}_alpha_factor`], 1),
      beta: config.number([`${name}_beta_factor`], 1),
    });
    return model({
      layerTypes: readLayerTypes(config),
      dModel,
      attention: {
        dIn: dModel,
        dOut: dModel,
        nHead,
        nKvHead: config.count(["num_key_value_heads"], 8),
        headDim,
        scale: headDim ** -0.5,
        softCap: null,
        window: config.has("sliding_window") ? config.count(["sliding_window"]) : null,
        qkvBias: false,
        outBias: false,
        qkNorm: null,
      },
      rotation: readRotation(config, {
        headDim,
        partial: null,
        theta: 1_000_000,
        maxPositions: 4096 * 32,
      }),
      experts: {
        dModel,
        dExpert: dModel,
        dFf: config.count(["intermediate_size"], 14_336),
        nExpert: config.count(["num_local_experts", "num_experts"], 8),
        topK: config.count(["num_experts_per_tok"], 2),
        scoring: "softmax",
        choiceBias: false,
        nGroup: 1,
        topKGroup: 1,
        normalise: true,
        scale: 1,
        act,
        gated: true,
      },
      act,
      residual: {
        full_attention: factors("full_attn"),
        linear_attention: factors("linear_attn"),
        mlp: factors("mlp"),
      },
      vocabSize: config.count(["vocab_size"], 32_000),
      eps: config.positive(["rms_norm_eps"], 1e-5),
      tied: config.boolean(["tie_word_embeddings"], false),
    });
  },

  fromGguf: noGguf("minimax"),
};
