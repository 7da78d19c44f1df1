/**
 * RWKV-4. Source: Peng et al. 2023 (arXiv:2305.13048), [1]; transformers `modeling_rwkv.py`.
 *
 * T tokens of each of B sequences lie as B * T rows. x: the residual stream; r, k, v: receptance, key, value;
 * μ: how much of a token (the rest comes from the one before it); w, u: decay and bonus of the WKV operator.
 */
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { activation } from "../../kernels/ops/activation/activation.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { layerNorm } from "../../kernels/ops/layer-norm/layer-norm.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import { tokenShift } from "../../kernels/ops/token-shift/token-shift.ts";
import { wkv4 } from "../../kernels/ops/wkv4/wkv4.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import type { JsonObject } from "../weights/json.ts";
import {
  MAX_LAYERS,
  noGguf,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface RwkvConfig {
  readonly nLayer: number;
  readonly dModel: number;
  readonly dAttention: number;
  readonly dFfn: number;
  readonly vocabSize: number;
  readonly eps: number;
  /** Blocks after which the library halves the residual stream; 0: never. */
  readonly rescaleEvery: number;
  /** The head is the embedding. */
  readonly tied: boolean;
}

interface LayerNormWeights {
  readonly weight: Weight; // (1, dModel)
  readonly bias: Weight; //   (1, dModel)
}

interface BlockWeights {
  readonly preNorm: LayerNormWeights | null; // in the first block only
  readonly norm1: LayerNormWeights;
  readonly norm2: LayerNormWeights;
  readonly decay: Weight; //         (1, dAttention), w = −exp of what is stored
  readonly bonus: Weight; //         (1, dAttention), u
  readonly mix: Weight; //           (3, dModel), 1 − μ for k, v, r
  readonly key: Weight; //           (dAttention, dModel)
  readonly value: Weight; //         (dAttention, dModel)
  readonly receptance: Weight; //    (dAttention, dModel)
  readonly output: Weight; //        (dModel, dAttention)
  readonly ffnMix: Weight; //        (2, dModel), 1 − μ for k, r
  readonly ffnKey: Weight; //        (dFfn, dModel)
  readonly ffnReceptance: Weight; // (dModel, dModel)
  readonly ffnValue: Weight; //      (dModel, dFfn)
}

interface RwkvWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly BlockWeights[];
  readonly norm: LayerNormWeights;
  readonly head: Weight; //      (vocabSize, dModel)
}

/** PyTorch's default, which the library leaves its last norm with, whatever the configuration says. */
const LAST_NORM_EPS = 1e-5;

/** Time mixing: the WKV operator over the tokens. [1] §3.1. */
function timeMixing(k: Recorder, w: BlockWeights, layer: number, normed: Tensor): Tensor {
  const shifted = tokenShift(k, { x: normed, mix: w.mix, state: k.state(3 * layer) });
  const [xk, xv, xr] = split(shifted, [normed.cols, normed.cols, normed.cols]);
  const key = linear(k, xk, w.key); // (B * T, dAttention)
  const value = linear(k, xv, w.value);
  const receptance = linear(k, xr, w.receptance);
  const wkv = wkv4(k, {
    k: key,
    v: value,
    decay: w.decay,
    bonus: w.bonus,
    state: k.state(3 * layer + 1),
  });
  return gate(k, { a: receptance, b: wkv, act: "sigmoid" }); // (B * T, dAttention)
}

/** Channel mixing: σ(r) ⊙ (W_v max(k, 0)²). [1] §3.1. */
function channelMixing(k: Recorder, w: BlockWeights, layer: number, normed: Tensor): Tensor {
  const shifted = tokenShift(k, { x: normed, mix: w.ffnMix, state: k.state(3 * layer + 2) });
  const [xk, xr] = split(shifted, [normed.cols, normed.cols]);
  const key = activation(k, linear(k, xk, w.ffnKey), "relu2"); // (B * T, dFfn)
  const receptance = linear(k, xr, w.ffnReceptance); // (B * T, dModel)
  return gate(k, { a: receptance, b: linear(k, key, w.ffnValue), act: "sigmoid" });
}

/**
 * The epsilon of a norm that stands behind `blocks` blocks. After every `rescaleEvery` blocks the library halves the
 * stream, and with it all that later blocks add, so that f16 does not overflow. A layer norm of x / 2^n with epsilon ε is
 * that of x with 4^n ε, so in f32 the epsilon is all that has to know of it.
 */
function epsAfter(c: RwkvConfig, blocks: number, eps: number): number {
  return eps * 4 ** halvings(c, blocks);
}

function halvings({ rescaleEvery }: RwkvConfig, blocks: number): number {
  return rescaleEvery === 0 ? 0 : Math.floor(blocks / rescaleEvery);
}

/** One block with its residuals. [1] fig. 2. */
function rwkvBlock(
  k: Recorder,
  c: RwkvConfig,
  w: BlockWeights,
  layer: number,
  input: Tensor,
): Tensor {
  const eps = epsAfter(c, layer, c.eps);
  const x = w.preNorm === null ? input : layerNorm(k, { x: input, ...w.preNorm, eps }); // (B * T, dModel)
  const mixed = timeMixing(k, w, layer, layerNorm(k, { x, ...w.norm1, eps }));
  const attended = linear(k, mixed, w.output, { residual: x }); // (B * T, dModel)
  const changed = channelMixing(k, w, layer, layerNorm(k, { x: attended, ...w.norm2, eps }));
  return scaledAdd(k, { a: attended, b: changed }); // (B * T, dModel)
}

function recordRwkv(c: RwkvConfig, w: RwkvWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.blocks.forEach((block, layer) => {
      x = rwkvBlock(k, c, block, layer, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const eps = epsAfter(c, c.nLayer, LAST_NORM_EPS);
    const normed = layerNorm(k, { x: wanted, ...w.norm, eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** att_x, ffn_x: the last normed input of either half; wkv: numerator, denominator, exponent of the WKV operator. */
function stateLayout({ nLayer, dModel, dAttention }: RwkvConfig): StateLayout {
  return Array.from({ length: nLayer }, (_, i) => [
    { name: `layers.${i}.att_x`, shape: [dModel] },
    { name: `layers.${i}.wkv`, shape: [3, dAttention] },
    { name: `layers.${i}.ffn_x`, shape: [dModel] },
  ]).flat();
}

async function loadWeights(c: RwkvConfig, from: WeightLoader): Promise<RwkvWeights> {
  const { dModel, dAttention, dFfn, vocabSize } = c;
  const norm = async (name: string): Promise<LayerNormWeights> => ({
    weight: await from.vector(`${name}.weight`, 1, dModel),
    bias: await from.vector(`${name}.bias`, 1, dModel),
  });
  // Stored is the part of the token itself.
  const mix = (at: string, names: readonly string[]): Promise<Weight> =>
    from.vector(
      names.map((name) => `${at}.time_mix_${name}`),
      names.length,
      dModel,
      (own) => 1 - own,
    );
  const embeddingTable = await from.matrix("rwkv.embeddings.weight", vocabSize, dModel);
  const blocks: BlockWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) {
    const at = `rwkv.blocks.${i}`;
    const attention = `${at}.attention`;
    const ffn = `${at}.feed_forward`;
    blocks.push({
      preNorm: i === 0 ? await norm(`${at}.pre_ln`) : null,
      norm1: await norm(`${at}.ln1`),
      norm2: await norm(`${at}.ln2`),
      decay: await from.vector(`${attention}.time_decay`, 1, dAttention, (w) => -Math.exp(w)),
      bonus: await from.vector(`${attention}.time_first`, 1, dAttention),
      mix: await mix(attention, ["key", "value", "receptance"]),
      key: await from.matrix(`${attention}.key.weight`, dAttention, dModel),
      value: await from.matrix(`${attention}.value.weight`, dAttention, dModel),
      receptance: await from.matrix(`${attention}.receptance.weight`, dAttention, dModel),
      output: await from.matrix(`${attention}.output.weight`, dModel, dAttention),
      ffnMix: await mix(ffn, ["key", "receptance"]),
      ffnKey: await from.matrix(`${ffn}.key.weight`, dFfn, dModel),
      ffnReceptance: await from.matrix(`${ffn}.receptance.weight`, dModel, dModel),
      ffnValue: await from.matrix(`${ffn}.value.weight`, dModel, dFfn),
    });
  }
  return {
    embedding: embeddingTable,
    blocks,
    norm: await norm("rwkv.ln_out"),
    head: c.tied ? embeddingTable : await from.matrix("head.weight", vocabSize, dModel),
  };
}

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 4096);
  const rescaleEvery = config.number(["rescale_every"], 6);
  const c: RwkvConfig = {
    nLayer: config.count(["num_hidden_layers"], 32),
    dModel,
    dAttention: config.count(["attention_hidden_size"], dModel),
    dFfn: config.count(["intermediate_size"], 4 * dModel),
    vocabSize: config.count(["vocab_size"], 50277),
    eps: config.positive(["layer_norm_epsilon"], 1e-5),
    rescaleEvery: Math.max(rescaleEvery, 0),
    tied: config.boolean(["tie_word_embeddings"], false),
  };
  requireGeometry(c.nLayer <= MAX_LAYERS, `${c.nLayer} layers`);
  requireGeometry(Number.isInteger(rescaleEvery), `rescale_every is ${rescaleEvery}`);
  // Far beyond any model, and 4^60 times an epsilon is still an f32.
  const halved = halvings(c, c.nLayer);
  requireGeometry(halved <= 60, `${halved} halvings of the residual stream`);
  return {
    modelType: "rwkv",
    nLayer: c.nLayer,
    dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    load: async (loader) => recordRwkv(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "rwkv": RWKV-4 of Hugging Face transformers. */
export const rwkv: Architecture = {
  fromConfig,
  fromGguf: noGguf("rwkv"),
};
