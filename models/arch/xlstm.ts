/**
 * xLSTM as in xLSTM-7B: matrix memories (mLSTM) only. Sources: Beck et al. 2025 (arXiv:2503.13427), [1]; Beck et al. 2024
 * (arXiv:2405.04517), [2]; transformers `modeling_xlstm.py`. llama.cpp does not have it.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a block's input; q, k, v, i, f, o: the papers' letters.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { gate } from "../../kernels/ops/gate/gate.ts";
import { layerNorm } from "../../kernels/ops/layer-norm/layer-norm.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { mlstm, mlstmSlot } from "../../kernels/ops/mlstm/mlstm.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows, split } from "../../kernels/spec/views.ts";
import {
  MAX_LAYERS,
  noGguf,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import { loadMlp, mlp, type MlpWeights } from "./blocks/mlp.ts";
import { ConfigFields } from "./config-fields.ts";
import type { MatrixPart } from "./matrix-parts.ts";
import type { WeightLoader } from "./weight-loader.ts";

interface XlstmConfig {
  readonly nLayer: number;
  readonly dModel: number;
  readonly nHead: number;
  /** Columns of q and of k, all heads together. */
  readonly dQk: number;
  /** Columns of v. */
  readonly dV: number;
  readonly dFf: number;
  /** Of norms and projections; the gates of input and forgetting have theirs in any case. */
  readonly bias: boolean;
  /** One tensor for q, k, v, o, one for i, f, one for the MLP's gate and up; else one for each. */
  readonly fused: boolean;
  readonly vocabSize: number;
  readonly normEps: number;
  /** Added to the memory's denominator. */
  readonly eps: number;
  /** c in c · tanh(g / c) for the gates before their exponentials. */
  readonly gateCap: number;
  readonly logitsCap: number;
  /** The head is the embedding, unless the file has one. */
  readonly tied: boolean;
}

interface NormWeights {
  readonly weight: Weight; //      (1, width)
  readonly bias: Weight | null; // (1, width)
}

interface BlockWeights {
  readonly memoryNorm: NormWeights; // dModel
  readonly qkvo: Weight; //           (2 * dQk + 2 * dV, dModel): q, k, v, o
  readonly qkvoBias: Weight | null; //(1, the same)
  readonly gates: Weight; //          (2 * nHead, dModel): i, f
  readonly gatesBias: Weight; //      (1, 2 * nHead)
  readonly headNorm: NormWeights; //   dV
  readonly out: Weight; //            (dModel, dV)
  readonly outBias: Weight | null; // (1, dModel)
  readonly mlpNorm: NormWeights; //    dModel
  readonly mlp: MlpWeights;
}

interface XlstmWeights {
  readonly embedding: Weight; // (vocabSize, dModel)
  readonly blocks: readonly BlockWeights[];
  readonly norm: Weight; //      (1, dModel)
  readonly head: Weight; //      (vocabSize, dModel)
}

/** One block: matrix memory, then a gated MLP, each with its norm and residual. [1] §3, fig. 2. */
function xlstmBlock(
  k: Recorder,
  c: XlstmConfig,
  w: BlockWeights,
  layer: number,
  x: Tensor,
): Tensor {
  const { nHead, dQk, dV } = c;
  const normed = biasedRmsNorm(k, c, w.memoryNorm, x); // (B * T, dModel)
  // (B * T, dQk) × 2, (B * T, dV) × 2
  const [q, keys, v, o] = split(linear(k, normed, w.qkvo, { bias: w.qkvoBias }), [
    dQk,
    dQk,
    dV,
    dV,
  ]);
  const raw = linear(k, normed, w.gates, { bias: w.gatesBias }); // (B * T, 2 * nHead)
  const capped = softCap(k, raw, c.gateCap);
  const [inputGate, forgetGate] = split(capped, [nHead, nHead]); // (B * T, nHead) × 2
  // (B * T, dV)  [2] eq. 19–27
  const h = mlstm(k, {
    q,
    k: keys,
    v,
    inputGate,
    forgetGate,
    state: k.state(layer),
    nHead,
    eps: c.eps,
  });
  const headNormed = layerNorm(k, { x: h, ...w.headNorm, eps: c.normEps, groupSize: dV / nHead });
  const gated = gate(k, { a: o, b: headNormed, act: "sigmoid" }); // (B * T, dV)
  const y = linear(k, gated, w.out, { bias: w.outBias, residual: x }); // (B * T, dModel)
  return mlp(k, w.mlp, biasedRmsNorm(k, c, w.mlpNorm, y), { act: "silu", residual: y });
}

function biasedRmsNorm(k: Recorder, c: XlstmConfig, w: NormWeights, x: Tensor): Tensor {
  const normed = rmsNorm(k, { x, weight: w.weight, eps: c.normEps }); // (rows, dModel)
  return w.bias === null ? normed : scaledAdd(k, { a: normed, bias: w.bias });
}

/** cap · tanh(x / cap). [1] §3.2 */
function softCap(k: Recorder, x: Tensor, cap: number, into?: Tensor): Tensor {
  const options = { scale: 1 / cap, gain: cap };
  return activation(k, x, "tanh", into === undefined ? options : { ...options, into });
}

function recordXlstm(c: XlstmConfig, w: XlstmWeights): RecordRun {
  return (k, { logits }) => {
    let x = embedding(k, w.embedding); // (B * T, dModel)
    w.blocks.forEach((block, layer) => {
      x = xlstmBlock(k, c, block, layer, x); // (B * T, dModel)
    });
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.normEps });
    const output = k.output(normed.rows, c.vocabSize); // (B or B * T, vocabSize)
    softCap(k, linear(k, normed, w.head), c.logitsCap, output);
  };
}

async function loadNorm(
  from: WeightLoader,
  name: string,
  width: number,
  bias: boolean,
): Promise<NormWeights> {
  return {
    weight: await from.vector(`${name}.weight`, 1, width),
    bias: bias ? await from.vector(`${name}.bias`, 1, width) : null,
  };
}

async function loadBlock(c: XlstmConfig, from: WeightLoader, at: string): Promise<BlockWeights> {
  const { dModel, dQk, dV, dFf, nHead, bias } = c;
  const layer = `${at}mlstm_layer.`;
  const qkvo = (c.fused ? ["qkv_opreact"] : ["q", "k", "v", "ogate_preact"]).map(
    (name) => layer + name,
  );
  const gates = (c.fused ? ["ifgate_preact"] : ["igate_preact", "fgate_preact"]).map(
    (name) => layer + name,
  );
  const weights = (names: readonly string[]): MatrixPart[] =>
    names.map((name) => ({ name: `${name}.weight` }));
  const biases = (names: readonly string[]): string[] => names.map((name) => `${name}.bias`);
  const dQkvo = 2 * dQk + 2 * dV;
  return {
    memoryNorm: await loadNorm(from, `${at}norm_mlstm`, dModel, bias),
    qkvo: await from.matrix(weights(qkvo), dQkvo, dModel),
    qkvoBias: bias ? await from.vector(biases(qkvo), 1, dQkvo) : null,
    gates: await from.matrix(weights(gates), 2 * nHead, dModel),
    gatesBias: await from.vector(biases(gates), 1, 2 * nHead),
    headNorm: await loadNorm(from, `${layer}multihead_norm`, dV, bias),
    out: await from.matrix(`${layer}out_proj.weight`, dModel, dV),
    outBias: bias ? await from.vector(`${layer}out_proj.bias`, 1, dModel) : null,
    mlpNorm: await loadNorm(from, `${at}norm_ffn`, dModel, bias),
    mlp: await loadMlp(
      from,
      {
        gateUp: c.fused ? `${at}ffn.proj_up_gate_z` : [`${at}ffn.proj_up_gate`, `${at}ffn.proj_up`],
        down: `${at}ffn.proj_down`,
      },
      { dModel, dFf, bias },
    ),
  };
}

async function loadWeights(c: XlstmConfig, from: WeightLoader): Promise<XlstmWeights> {
  const { dModel, vocabSize } = c;
  const head = "lm_head.weight";
  const embeddingTable = await from.matrix("backbone.embeddings.weight", vocabSize, dModel);
  const blocks: BlockWeights[] = [];
  for (let i = 0; i < c.nLayer; i++) blocks.push(await loadBlock(c, from, `backbone.blocks.${i}.`));
  return {
    embedding: embeddingTable,
    blocks,
    // The library has it whatever `add_out_norm` says.
    norm: await from.vector("backbone.out_norm.weight", 1, dModel),
    head: c.tied && !from.has(head) ? embeddingTable : await from.matrix(head, vocabSize, dModel),
  };
}

function model(c: XlstmConfig): Model {
  const { nHead, dQk, dV } = c;
  requireGeometry(c.nLayer <= MAX_LAYERS, `${c.nLayer} blocks`);
  requireGeometry(dQk >= 1 && dV >= 1 && c.dFf >= 1, `${dQk}, ${dV} and ${c.dFf} columns`);
  requireGeometry(
    dQk % nHead === 0 && dV % nHead === 0,
    `${nHead} heads do not divide ${dQk} query and ${dV} value columns`,
  );
  const shape = { nHead, headDimK: dQk / nHead, headDimV: dV / nHead };
  return {
    modelType: "xlstm",
    nLayer: c.nLayer,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: Array.from({ length: c.nLayer }, (_, i) => mlstmSlot(`layers.${i}.mlstm`, shape)),
    load: async (loader) => recordXlstm(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "xlstm". */
export const xlstm: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const dModel = config.count(["hidden_size", "embedding_dim"], 4096);
    requireGeometry(
      config.count(["embedding_dim"], dModel) === dModel,
      `embedding_dim is not hidden_size, ${dModel}`,
    );
    const weightMode = config.string(["weight_mode"], "single");
    if (weightMode !== "single" && weightMode !== "fused")
      throw config.unsupported("weight_mode", '"single" or "fused"');
    const multiple = config.count(["ffn_round_up_to_multiple_of"], 64);
    const wanted = dModel * config.positive(["ffn_proj_factor"], 2.667);
    return model({
      nLayer: config.count(["num_blocks", "num_hidden_layers"], 32),
      dModel,
      nHead: config.count(["num_heads"], 8),
      dQk: Math.trunc(dModel * config.positive(["qk_dim_factor"], 0.5)),
      dV: Math.trunc(dModel * config.positive(["v_dim_factor"], 1)),
      dFf: Math.floor((wanted + multiple - 1) / multiple) * multiple,
      bias: config.boolean(["use_bias"], false),
      fused: weightMode === "fused",
      vocabSize: config.count(["vocab_size"], 50_304),
      normEps: config.positive(["norm_eps"], 1e-6),
      eps: config.positive(["eps"], 1e-6),
      gateCap: config.positive(["gate_soft_cap"], 15),
      logitsCap: config.positive(["output_logit_soft_cap"], 30),
      tied: config.boolean(["tie_word_embeddings"], false),
    });
  },

  fromGguf: noGguf("xlstm"),
};
