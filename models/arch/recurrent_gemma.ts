/**
 * RecurrentGemma: Griffin, and Hawk, which is Griffin without attention. Sources: De et al. 2024 (arXiv:2402.19427), [1];
 * Botev et al. 2024 (arXiv:2404.07839); transformers `modeling_recurrent_gemma.py`. llama.cpp does not have it.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input; Λ, r, i: the paper's letters.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { blockLinear } from "../../kernels/ops/block-linear/block-linear.ts";
import { causalConv1d } from "../../kernels/ops/causal-conv1d/causal-conv1d.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rgLru } from "../../kernels/ops/rg-lru/rg-lru.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { softplus, type Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, StateSlot, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  MAX_LAYERS,
  noGguf,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import {
  attentionLayer,
  attentionLayerSlots,
  loadAttention,
  loadRotation,
  requireHeads,
  type AttentionNames,
  type AttentionShape,
  type AttentionWeights,
  type RotationWeights,
} from "./blocks/attention.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface RecurrentGemmaConfig {
  readonly blockTypes: readonly BlockType[];
  readonly dModel: number;
  readonly lruWidth: number;
  /** Blocks of the RG-LRU's gates. */
  readonly nBlock: number;
  readonly dConv: number;
  readonly dFf: number;
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  readonly act: Activation;
  readonly vocabSize: number;
  readonly eps: number;
  /** c in c · tanh(logit / c). */
  readonly logitsCap: number;
  /** The head is the embedding. */
  readonly tied: boolean;
}

type BlockType = "recurrent" | "attention";

interface RecurrentWeights {
  readonly gateProj: Weight; //       (lruWidth, dModel): the branch of the gelu
  readonly gateBias: Weight; //       (1, lruWidth)
  readonly inProj: Weight; //         (lruWidth, dModel)
  readonly inBias: Weight; //         (1, lruWidth)
  readonly conv: Weight; //           (lruWidth, dConv)
  readonly convBias: Weight; //       (1, lruWidth)
  readonly recurrenceGate: Weight; // (lruWidth, lruWidth / nBlock)
  readonly recurrenceBias: Weight; // (1, lruWidth)
  readonly inputGate: Weight; //      (lruWidth, lruWidth / nBlock)
  readonly inputBias: Weight; //      (1, lruWidth)
  readonly logDecay: Weight; //       (1, lruWidth): −8 softplus(Λ)
  readonly outProj: Weight; //        (dModel, lruWidth)
  readonly outBias: Weight; //        (1, dModel)
}

interface BlockWeights {
  readonly temporalNorm: Weight; // (1, dModel)
  readonly temporal:
    | { readonly kind: "recurrent"; readonly weights: RecurrentWeights }
    | { readonly kind: "attention"; readonly weights: AttentionWeights };
  readonly channelNorm: Weight; //  (1, dModel)
  readonly mlp: MlpWeights;
}

interface RecurrentGemmaWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly BlockWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
  readonly rotation: RotationWeights;
}

/** c of log a = −c softplus(Λ) σ(r). [1] §2.4 */
const DECAY = 8;

/** The recurrent block: a gelu branch times a branch of convolution and RG-LRU. [1] §2.3, fig. 2c. */
function recurrentBlock(
  k: Recorder,
  c: RecurrentGemmaConfig,
  w: RecurrentWeights,
  slots: readonly [conv: Tensor, recurrent: Tensor],
  x: Tensor,
  residual: Tensor,
): Tensor {
  const { nBlock } = c;
  const [state, hidden] = slots;
  const a = linear(k, x, w.gateProj, { bias: w.gateBias }); // (B * T, lruWidth)
  const u = linear(k, x, w.inProj, { bias: w.inBias }); // (B * T, lruWidth)
  // (B * T, lruWidth)
  const conv = causalConv1d(k, { x: u, weight: w.conv, bias: w.convBias, state, silu: false });
  // (B * T, lruWidth)  [1] eq. 1, 2
  const recurrenceGate = blockLinear(k, {
    x: conv,
    weight: w.recurrenceGate,
    bias: w.recurrenceBias,
    nBlock,
  });
  const inputGate = blockLinear(k, { x: conv, weight: w.inputGate, bias: w.inputBias, nBlock });
  // (B * T, lruWidth)  [1] eq. 3, 4
  const h = rgLru(k, { x: conv, recurrenceGate, inputGate, logDecay: w.logDecay, state: hidden });
  const gated = gate(k, { a, b: h, act: c.act }); // (B * T, lruWidth)
  return linear(k, gated, w.outProj, { bias: w.outBias, residual }); // (B * T, dModel)
}

/** Temporal mixing, then a gated MLP, each with its norm and residual. [1] §2.1, fig. 2a. */
function residualBlock(
  k: Recorder,
  c: RecurrentGemmaConfig,
  w: BlockWeights,
  rotation: RotationWeights,
  slots: readonly [Tensor, Tensor],
  x: Tensor,
): Tensor {
  const normed = rmsNorm(k, { x, weight: w.temporalNorm, eps: c.eps }); // (B * T, dModel)
  const [keys, values] = slots;
  const mixed =
    w.temporal.kind === "recurrent"
      ? recurrentBlock(k, c, w.temporal.weights, slots, normed, x)
      : attentionLayer(k, c.attention, w.temporal.weights, rotation, { keys, values }, normed, {
          residual: x,
        }); // (B * T, dModel)
  const wide = rmsNorm(k, { x: mixed, weight: w.channelNorm, eps: c.eps });
  return mlp(k, w.mlp, wide, { act: c.act, residual: mixed }); // (B * T, dModel)
}

function recordRecurrentGemma(c: RecurrentGemmaConfig, w: RecurrentGemmaWeights): RecordRun {
  return (k, { logits }) => {
    // (B * T, dModel)
    let x = activation(k, embedding(k, w.embedding), "identity", {
      gain: roundToBf16(Math.sqrt(c.dModel)),
    });
    w.blocks.forEach((block, layer) => {
      const slots = [k.state(2 * layer), k.state(2 * layer + 1)] as const;
      x = residualBlock(k, c, block, w.rotation, slots, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    activation(k, linear(k, normed, w.head), "tanh", {
      scale: 1 / c.logitsCap,
      gain: c.logitsCap,
      into: k.output(normed.rows, c.vocabSize),
    }); // (B or B * T, vocabSize)
  };
}

/** The embedding's factor √dModel is kept in bf16, whatever the weights are. For numbers above 0, ties to even. */
function roundToBf16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;
  const rounded = bits + 0x7fff + ((bits >>> 16) & 1);
  return new Float32Array(Uint32Array.of(rounded & 0xffff0000).buffer)[0] ?? value;
}

function stateLayout(c: RecurrentGemmaConfig): StateLayout {
  return c.blockTypes.flatMap((type, i): readonly StateSlot[] =>
    type === "recurrent"
      ? [
          { name: `layers.${i}.conv`, shape: [c.lruWidth, c.dConv - 1] },
          { name: `layers.${i}.recurrent`, shape: [c.lruWidth] },
        ]
      : attentionLayerSlots(`layers.${i}`, c.attention),
  );
}

const ATTENTION: AttentionNames = {
  q: "temporal_block.q_proj",
  k: "temporal_block.k_proj",
  v: "temporal_block.v_proj",
  out: "temporal_block.o_proj",
  qNorm: "",
  kNorm: "",
};

/** The norms' weights are stored less 1. */
function plusOne(stored: number): number {
  return 1 + stored;
}

async function loadRecurrent(
  c: RecurrentGemmaConfig,
  from: WeightLoader,
  at: string,
): Promise<RecurrentWeights> {
  const { dModel, lruWidth, nBlock, dConv } = c;
  const side = lruWidth / nBlock;
  const bias = (name: string, cols: number): Promise<Weight> => from.vector(at + name, 1, cols);
  return {
    gateProj: await from.matrix(`${at}linear_y.weight`, lruWidth, dModel),
    gateBias: await bias("linear_y.bias", lruWidth),
    inProj: await from.matrix(`${at}linear_x.weight`, lruWidth, dModel),
    inBias: await bias("linear_x.bias", lruWidth),
    conv: await from.vector(`${at}conv_1d.weight`, lruWidth, dConv),
    convBias: await bias("conv_1d.bias", lruWidth),
    // Stored for x W.
    recurrenceGate: await from.transposed(`${at}rg_lru.recurrent_gate_weight`, nBlock, side, side),
    recurrenceBias: await bias("rg_lru.recurrent_gate_bias", lruWidth),
    inputGate: await from.transposed(`${at}rg_lru.input_gate_weight`, nBlock, side, side),
    inputBias: await bias("rg_lru.input_gate_bias", lruWidth),
    logDecay: await from.vector(
      `${at}rg_lru.recurrent_param`,
      1,
      lruWidth,
      (lambda) => -DECAY * softplus(lambda),
    ),
    outProj: await from.matrix(`${at}linear_out.weight`, dModel, lruWidth),
    outBias: await bias("linear_out.bias", dModel),
  };
}

async function loadWeights(
  c: RecurrentGemmaConfig,
  from: WeightLoader,
): Promise<RecurrentGemmaWeights> {
  const { dModel, dFf, vocabSize } = c;
  const embeddingTable = await from.matrix("model.embed_tokens.weight", vocabSize, dModel);
  const blocks: BlockWeights[] = [];
  for (const [i, kind] of c.blockTypes.entries()) {
    const at = `model.layers.${i}.`;
    blocks.push({
      temporalNorm: await from.vector(`${at}temporal_pre_norm.weight`, 1, dModel, plusOne),
      temporal:
        kind === "recurrent"
          ? { kind, weights: await loadRecurrent(c, from, `${at}temporal_block.`) }
          : { kind, weights: await loadAttention(from, at, ATTENTION, c.attention) },
      channelNorm: await from.vector(`${at}channel_pre_norm.weight`, 1, dModel, plusOne),
      mlp: await loadMlp(
        from,
        {
          gateUp: [`${at}mlp_block.gate_proj`, `${at}mlp_block.up_proj`],
          down: `${at}mlp_block.down_proj`,
        },
        { dModel, dFf, bias: true },
      ),
    });
  }
  return {
    embedding: embeddingTable,
    blocks,
    norm: await from.vector("model.final_norm.weight", 1, dModel, plusOne),
    head: c.tied ? embeddingTable : await from.matrix("lm_head.weight", vocabSize, dModel),
    rotation: await loadRotation(from, c.rotation, "halves"),
  };
}

/** The pattern of `block_types`, over and over. */
function readBlockTypes(config: ConfigFields): readonly BlockType[] {
  const nLayer = config.count(["num_hidden_layers"], 26);
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  const pattern = config.strings(["block_types"]) ?? ["recurrent", "recurrent", "attention"];
  const known = pattern.map((type): BlockType => {
    if (type === "recurrent" || type === "attention") return type;
    throw config.unsupported("block_types", '"recurrent" and "attention"');
  });
  return Array.from({ length: nLayer }, (_, i) => {
    const type = known[i % known.length];
    if (type === undefined) throw config.unsupported("block_types", "at least one type");
    return type;
  });
}

function model(c: RecurrentGemmaConfig): Model {
  const { lruWidth, nBlock, dConv } = c;
  requireGeometry(lruWidth % nBlock === 0, `${nBlock} gate blocks do not divide ${lruWidth}`);
  requireGeometry(dConv >= 2, `a convolution of ${dConv} taps has no state`);
  requireGeometry(c.dFf >= 1, "an MLP without columns");
  requireHeads(c.attention);
  return {
    modelType: "recurrent_gemma",
    nLayer: c.blockTypes.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    load: async (loader) => recordRecurrentGemma(c, await loadWeights(c, loader)),
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 2560);
  const nHead = config.count(["num_attention_heads"], 10);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const rotation = readRotation(config, { headDim, partial: 0.5, maxPositions: 8192 });
  return model({
    blockTypes: readBlockTypes(config),
    dModel,
    lruWidth: config.count(["lru_width"], dModel),
    nBlock: nHead,
    dConv: config.count(["conv1d_width"], 4),
    dFf: Math.floor(config.count(["intermediate_size"], 3 * 2560) / 2),
    attention: {
      dIn: dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.count(["num_key_value_heads"], nHead),
      headDim,
      scale: headDim ** -0.5,
      softCap: null,
      window: config.count(["attention_window_size", "sliding_window"], 2048),
      qkvBias: config.boolean(["attention_bias"], false),
      outBias: true,
      qkNorm: null,
    },
    rotation,
    act: readActivation(config, ["hidden_activation"], "gelu_pytorch_tanh"),
    vocabSize: config.count(["vocab_size"], 256_000),
    eps: config.positive(["rms_norm_eps"], 1e-6),
    logitsCap: config.positive(["logits_soft_cap"], 30),
    tied: config.boolean(["tie_word_embeddings"], true),
  });
}

/** `model_type` "recurrent_gemma". */
export const recurrentGemma: Architecture = {
  fromConfig,
  fromGguf: noGguf("recurrent_gemma"),
};
