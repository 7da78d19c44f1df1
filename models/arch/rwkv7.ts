/**
 * RWKV-7. Source: Peng et al. 2025 (arXiv:2503.14456), [1]; BlinkDL/RWKV-LM `RWKV-v7`; fla `modeling_rwkv7.py`;
 * for GGUF names llama.cpp.
 *
 * T tokens of each of B sequences lie as B * T rows. x: the residual stream; r, w, k, v, a, g: receptance, decay, key,
 * value, in-context learning rate, gate; κ̂: removal key; k̃: replacement key; μ: how much of the token before.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { layerNorm } from "../../kernels/ops/layer-norm/layer-norm.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import { tokenShift } from "../../kernels/ops/token-shift/token-shift.ts";
import { wkv7Bonus } from "../../kernels/ops/wkv7-bonus/wkv7-bonus.ts";
import { wkv7Keys } from "../../kernels/ops/wkv7-keys/wkv7-keys.ts";
import { wkv7 } from "../../kernels/ops/wkv7/wkv7.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { StateLayout, Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import type { Architecture, Model, RecordRun } from "./architecture.ts";
import {
  describeGguf,
  readConfig,
  readGguf,
  type Rwkv7Config,
  type Rwkv7Ranks,
} from "./rwkv7-config.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface LayerNormWeights {
  readonly weight: Weight; //      (1, dModel)
  readonly bias: Weight | null; // (1, dModel)
}

interface LoraWeights {
  readonly down: Weight; //        (rank, dModel)
  readonly up: Weight; //          (dModel or dValue, rank)
  readonly bias: Weight | null; // (1, dModel or dValue)
}

interface BlockWeights {
  readonly norm1: LayerNormWeights;
  readonly mix: Weight; //         (6, dModel), μ for r, w, k, v, a, g
  readonly receptance: Weight; //  (dModel, dModel)
  readonly key: Weight; //         (dModel, dModel)
  readonly value: Weight; //       (dValue, dModel)
  readonly w: LoraWeights;
  readonly a: LoraWeights;
  readonly v: LoraWeights | null; // null in the first block
  readonly g: LoraWeights;
  readonly removal: Weight; //     (1, dModel), ξ
  readonly replacement: Weight; // (1, dModel), α
  readonly bonus: Weight; //       (1, dModel), ρ
  readonly headNorm: LayerNormWeights; // (1, dValue)
  readonly output: Weight; //      (dModel, dValue)
  readonly norm2: LayerNormWeights;
  readonly ffnMix: Weight; //      (1, dModel), μ
  readonly ffnKey: Weight; //      (dFfn, dModel)
  readonly ffnValue: Weight; //    (dModel, dFfn)
}

interface Rwkv7Weights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly preNorm: LayerNormWeights | null;
  readonly blocks: readonly BlockWeights[];
  readonly norm: LayerNormWeights;
  readonly head: Weight; //      (vocabSize, dModel)
}

/** f(x W_down) W_up + bias: "loramlp" of [1] §4.1. */
function lora(k: Recorder, x: Tensor, w: LoraWeights, act: Activation): Tensor {
  const narrow = linear(k, x, w.down); // (B * T, rank)
  const hidden = act === "identity" ? narrow : activation(k, narrow, act);
  return linear(k, hidden, w.up, { bias: w.bias });
}

/**
 * Time mixing, with its residual: the state evolves by the generalised delta rule. [1] §4.1.
 * @param firstValue the first block's values, (B * T, dValue); null in that block
 */
function timeMixing(
  k: Recorder,
  c: Rwkv7Config,
  w: BlockWeights,
  layer: number,
  x: Tensor,
  firstValue: Tensor | null,
): { readonly x: Tensor; readonly value: Tensor } {
  const { dModel, dValue } = c;
  const nHead = dModel / c.headDim;
  const normed = layerNorm(k, { x, ...w.norm1, eps: c.eps }); // (B * T, dModel)
  const shifted = tokenShift(k, { x: normed, mix: w.mix, state: k.state(3 * layer) });
  const widths = [dModel, dModel, dModel, dModel, dModel, dModel] as const;
  const [xr, xw, xk, xv, xa, xg] = split(shifted, widths); // (B * T, dModel) each

  const r = linear(k, xr, w.receptance); // (B * T, dModel)
  const key = linear(k, xk, w.key); // (B * T, dModel)
  const own = linear(k, xv, w.value); // (B * T, dValue)
  const value =
    firstValue === null || w.v === null
      ? own
      : interpolate(k, own, firstValue, lora(k, xv, w.v, "identity"));
  const keys = wkv7Keys(k, {
    k: key,
    w: lora(k, xw, w.w, "tanh"), // (B * T, dModel)
    a: lora(k, xa, w.a, "identity"), // (B * T, dModel)
    removal: w.removal,
    replacement: w.replacement,
    nHead,
    eps: c.lengthEps,
  });
  const g = lora(k, xg, w.g, "sigmoid"); // (B * T, dValue)

  const read = wkv7(k, { r, ...keys, v: value, state: k.state(3 * layer + 1), nHead }); // (B * T, dValue)
  const headNormed = layerNorm(k, {
    x: read,
    ...w.headNorm,
    eps: c.headEps,
    groupSize: dValue / nHead,
  });
  const y = wkv7Bonus(k, { x: headNormed, r, k: keys.k, v: value, g, weight: w.bonus, nHead }); // (B * T, dValue)
  return { x: linear(k, y, w.output, { residual: x }), value };
}

/** a + σ(amount) ⊙ (b − a) */
function interpolate(k: Recorder, a: Tensor, b: Tensor, amount: Tensor): Tensor {
  const difference = scaledAdd(k, { a: b, b: a, bScale: -1 });
  return scaledAdd(k, { a, b: gate(k, { a: amount, b: difference, act: "sigmoid" }) });
}

/** Channel mixing, with its residual. [1] §4.2. */
function channelMixing(
  k: Recorder,
  c: Rwkv7Config,
  w: BlockWeights,
  layer: number,
  x: Tensor,
): Tensor {
  const normed = layerNorm(k, { x, ...w.norm2, eps: c.eps }); // (B * T, dModel)
  const xk = tokenShift(k, { x: normed, mix: w.ffnMix, state: k.state(3 * layer + 2) });
  const key = activation(k, linear(k, xk, w.ffnKey), c.act); // (B * T, dFfn)
  return linear(k, key, w.ffnValue, { residual: x }); // (B * T, dModel)
}

function recordRwkv7(c: Rwkv7Config, w: Rwkv7Weights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    if (w.preNorm !== null) x = layerNorm(k, { x, ...w.preNorm, eps: c.eps });
    let firstValue: Tensor | null = null;
    for (const [layer, block] of w.blocks.entries()) {
      const mixed = timeMixing(k, c, block, layer, x, firstValue);
      firstValue ??= mixed.value;
      x = channelMixing(k, c, block, layer, mixed.x);
    }
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = layerNorm(k, { x: wanted, ...w.norm, eps: c.eps });
    linear(k, normed, w.head, { into: k.output(normed.rows, c.vocabSize) }); // (B or B * T, vocabSize)
  };
}

/** att_x, ffn_x: the last normed input of either half; wkv: each head's state, (value, key). */
function stateLayout({ nLayer, dModel, headDim, dValue }: Rwkv7Config): StateLayout {
  const nHead = dModel / headDim;
  return Array.from({ length: nLayer }, (_, i) => [
    { name: `layers.${i}.att_x`, shape: [dModel] },
    { name: `layers.${i}.wkv`, shape: [nHead, dValue / nHead, headDim] },
    { name: `layers.${i}.ffn_x`, shape: [dModel] },
  ]).flat();
}

const MIXTURES = ["r", "w", "k", "v", "a", "g"] as const;

/** What the files call the weights: as their author writes .pth files, as fla does, as llama.cpp does. */
const NAMES = {
  author: {
    embedding: "emb.weight",
    preNorm: "blocks.0.ln0",
    norm: "ln_out",
    head: "head.weight",
    block: (i: number) => `blocks.${i}.`,
    norm1: "ln1",
    norm2: "ln2",
    mix: MIXTURES.map((of) => `att.x_${of}`),
    receptance: "att.receptance.weight",
    key: "att.key.weight",
    value: "att.value.weight",
    down: (of: keyof Rwkv7Ranks) => `att.${of}1`,
    up: (of: keyof Rwkv7Ranks) => `att.${of}2`,
    bias: (of: keyof Rwkv7Ranks) => `att.${of}0`,
    removal: "att.k_k",
    replacement: "att.k_a",
    bonus: "att.r_k",
    headNorm: "att.ln_x",
    output: "att.output.weight",
    ffnMix: "ffn.x_k",
    ffnKey: "ffn.key.weight",
    ffnValue: "ffn.value.weight",
  },
  fla: {
    embedding: "model.embeddings.weight",
    preNorm: "model.layers.0.pre_norm",
    norm: "model.norm",
    head: "lm_head.weight",
    block: (i: number) => `model.layers.${i}.`,
    norm1: "attn_norm",
    norm2: "ffn_norm",
    mix: MIXTURES.map((of) => `attn.x_${of}`),
    receptance: "attn.r_proj.weight",
    key: "attn.k_proj.weight",
    value: "attn.v_proj.weight",
    down: (of: keyof Rwkv7Ranks) => `attn.${of}_lora.lora.0.weight`,
    up: (of: keyof Rwkv7Ranks) => `attn.${of}_lora.lora.2.weight`,
    bias: (of: keyof Rwkv7Ranks) => `attn.${of}_lora.lora.2.bias`,
    removal: "attn.k_k",
    replacement: "attn.k_a",
    bonus: "attn.r_k",
    headNorm: "attn.g_norm",
    output: "attn.o_proj.weight",
    ffnMix: "ffn.x_k",
    ffnKey: "ffn.key.weight",
    ffnValue: "ffn.value.weight",
  },
  gguf: {
    embedding: "token_embd.weight",
    preNorm: "token_embd_norm",
    norm: "output_norm",
    head: "output.weight",
    block: (i: number) => `blk.${i}.`,
    norm1: "attn_norm",
    norm2: "attn_norm_2",
    mix: ["time_mix_lerp_fused.weight"],
    receptance: "time_mix_receptance.weight",
    key: "time_mix_key.weight",
    value: "time_mix_value.weight",
    down: (of: keyof Rwkv7Ranks) => `time_mix_${of}1.weight`,
    up: (of: keyof Rwkv7Ranks) => `time_mix_${of}2.weight`,
    bias: (of: keyof Rwkv7Ranks) => `time_mix_${of}0.weight`,
    removal: "time_mix_k_k.weight",
    replacement: "time_mix_k_a.weight",
    bonus: "time_mix_r_k.weight",
    headNorm: "time_mix_ln",
    output: "time_mix_output.weight",
    ffnMix: "channel_mix_lerp_k.weight",
    ffnKey: "channel_mix_key.weight",
    ffnValue: "channel_mix_value.weight",
  },
} as const;

/** fla's first release kept the six μ in one tensor. */
const FUSED_MIX = "attn.x_x";

async function loadWeights(c: Rwkv7Config, from: WeightLoader): Promise<Rwkv7Weights> {
  const { dModel, dValue, dFfn, vocabSize, ranks } = c;
  // A model can also be asked what its weights are called in a GGUF file that is yet to be written.
  const layout = from.format === "gguf" ? "gguf" : c.layout;
  const name = NAMES[layout];
  const norm = async (at: string, bias: boolean, cols = dModel): Promise<LayerNormWeights> => ({
    weight: await from.vector(`${at}.weight`, 1, cols),
    bias: bias ? await from.vector(`${at}.bias`, 1, cols) : null,
  });
  // The author multiplies x W, all others W x.
  const matrix = (at: string, rows: number, cols: number): Promise<Weight> =>
    layout === "author" ? from.transposed(at, 1, rows, cols) : from.matrix(at, rows, cols);

  const embeddingTable = await from.matrix(name.embedding, vocabSize, dModel);
  const preNorm = c.preNorm ? await norm(name.preNorm, c.normBias) : null;
  const blocks: BlockWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) {
    const at = name.block(i);
    const loraOf = async (of: keyof Rwkv7Ranks, cols: number): Promise<LoraWeights> => ({
      down: await matrix(at + name.down(of), ranks[of], dModel),
      up: await matrix(at + name.up(of), cols, ranks[of]),
      bias: of === "g" ? null : await from.vector(at + name.bias(of), 1, cols),
    });
    const mix = layout === "fla" && from.has(at + FUSED_MIX) ? [FUSED_MIX] : name.mix;
    blocks.push({
      norm1: await norm(at + name.norm1, c.normBias),
      mix: await from.vector(
        mix.map((each) => at + each),
        MIXTURES.length,
        dModel,
      ),
      receptance: await from.matrix(at + name.receptance, dModel, dModel),
      key: await from.matrix(at + name.key, dModel, dModel),
      value: await from.matrix(at + name.value, dValue, dModel),
      w: await loraOf("w", dModel),
      a: await loraOf("a", dModel),
      v: i === 0 ? null : await loraOf("v", dValue),
      g: await loraOf("g", dValue),
      removal: await from.vector(at + name.removal, 1, dModel),
      replacement: await from.vector(at + name.replacement, 1, dModel),
      bonus: await from.vector(at + name.bonus, 1, dModel),
      headNorm: await norm(at + name.headNorm, true, dValue),
      output: await from.matrix(at + name.output, dModel, dValue),
      norm2: await norm(at + name.norm2, c.normBias),
      ffnMix: await from.vector(at + name.ffnMix, 1, dModel),
      ffnKey: await from.matrix(at + name.ffnKey, dFfn, dModel),
      ffnValue: await from.matrix(at + name.ffnValue, dModel, dFfn),
    });
  }
  return {
    embedding: embeddingTable,
    preNorm,
    blocks,
    norm: await norm(name.norm, c.normBias),
    head: c.tied ? embeddingTable : await from.matrix(name.head, vocabSize, dModel),
  };
}

function model(c: Rwkv7Config): Model {
  const gguf = describeGguf(c);
  return {
    modelType: "rwkv7",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: stateLayout(c),
    ...(gguf === null ? {} : { gguf }),
    load: async (loader) => recordRwkv7(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "rwkv7" (fla), "rwkv7" in GGUF, and an `architecture` that begins with it (the author's layout). */
export const rwkv7: Architecture = {
  fromConfig: (json) => model(readConfig(json)),
  fromGguf: (metadata, tensors) =>
    model(readGguf(metadata, tensors.info(NAMES.gguf.embedding).shape[0] ?? 0)),
};
