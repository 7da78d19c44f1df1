/**
 * ZAYA1: compressed convolutional attention (CCA) and experts behind a router that is an MLP of its own. Sources: CCA Figliolia
 * et al. 2025 (arXiv:2510.04476), [1]; Anthony et al. 2025 (arXiv:2511.17127), [2]; transformers `modeling_zaya.py`.
 *
 * T tokens of each of B sequences lie as B * T rows. x: a layer's input; q, k, v: the papers' letters.
 */
import { activation } from "../../kernels/ops/activation/activation.ts";
import { embedding } from "../../kernels/ops/embedding/embedding.ts";
import { linear } from "../../kernels/ops/linear/linear.ts";
import { rmsNorm } from "../../kernels/ops/rms-norm/rms-norm.ts";
import { scaledAdd } from "../../kernels/ops/scaled-add/scaled-add.ts";
import type { Activation } from "../../kernels/spec/activations.ts";
import type { Recorder } from "../../kernels/spec/op.ts";
import type { Tensor, Weight } from "../../kernels/spec/tensor.ts";
import { lastRows } from "../../kernels/spec/views.ts";
import {
  MAX_LAYERS,
  noGguf,
  requireGeometry,
  type Architecture,
  type Model,
  type RecordRun,
} from "./architecture.ts";
import { loadRotation, type RotationWeights } from "./blocks/attention.ts";
import { eachExpert, moe, type MoeShape, type MoeWeights } from "./blocks/moe.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import {
  ccaLayer,
  ccaSlots,
  loadCca,
  requireCca,
  type CcaShape,
  type CcaWeights,
} from "./blocks/cca.ts";
import { ConfigFields } from "./config-fields.ts";
import type { WeightLoader } from "./weight-loader.ts";

type LayerType = "hybrid" | "hybrid_sliding";

interface ZayaConfig {
  readonly layerTypes: readonly LayerType[];
  readonly dModel: number;
  readonly attention: Readonly<Record<LayerType, CcaShape>>;
  readonly rotations: ReadonlyMap<LayerType, Rotation>;
  readonly dRouter: number;
  readonly experts: MoeShape;
  readonly vocabSize: number;
  readonly eps: number;
  /** The head is the embedding. */
  readonly tied: boolean;
  readonly headBias: boolean;
}

/** (value + bias) ⊙ scale. */
interface AffineWeights {
  readonly bias: Weight; //  (1, dModel)
  readonly scale: Weight; // (1, dModel)
}

interface ResidualWeights {
  readonly output: AffineWeights;
  readonly residual: AffineWeights;
}

interface RouterWeights {
  readonly down: Weight; //        (dRouter, dModel)
  readonly downBias: Weight; //    (1, dRouter)
  /** (1, dRouter): of the layer before's router; null in the first layer. */
  readonly before: Weight | null;
  readonly norm: Weight; //        (1, dRouter)
  readonly hidden: readonly { readonly weight: Weight; readonly bias: Weight }[]; // (dRouter, dRouter), (1, dRouter)
}

interface LayerWeights {
  readonly type: LayerType;
  readonly attentionNorm: Weight; // (1, dModel)
  readonly attention: CcaWeights;
  readonly attentionResidual: ResidualWeights;
  readonly expertsNorm: Weight; //   (1, dModel)
  readonly router: RouterWeights;
  readonly experts: MoeWeights;
  readonly expertsResidual: ResidualWeights;
}

interface ZayaWeights {
  readonly embedding: Weight; //      (vocabSize, dModel)
  readonly input: AffineWeights;
  readonly layers: readonly LayerWeights[];
  readonly norm: Weight; //           (1, dModel)
  readonly head: Weight; //           (vocabSize, dModel)
  readonly headBias: Weight | null; //(1, vocabSize)
  readonly rotations: ReadonlyMap<LayerType, RotationWeights>;
}

/** What the router sees: a projection that takes in the one of the layer before, here and there scaled. [2] §3.2 */
function routerState(k: Recorder, w: RouterWeights, x: Tensor, before: Tensor | null): Tensor {
  const state = linear(k, x, w.down, { bias: w.downBias }); // (B * T, dRouter)
  return before === null || w.before === null
    ? state
    : scaledAdd(k, { a: state, b: before, bScale: w.before });
}

/** The router's MLP but for its last product, which `moe` makes. [2] §3.2 */
function routerHidden(k: Recorder, w: RouterWeights, eps: number, state: Tensor): Tensor {
  let h = rmsNorm(k, { x: state, weight: w.norm, eps }); // (B * T, dRouter)
  for (const { weight, bias } of w.hidden)
    h = activation(k, linear(k, h, weight), "gelu", { bias }); // (B * T, dRouter)
  return h;
}

/** (output + b) ⊙ s + (residual + b′) ⊙ s′. [2] §3.3 */
function addResidual(k: Recorder, w: ResidualWeights, output: Tensor, residual: Tensor): Tensor {
  return scaledAdd(k, {
    a: scaledAdd(k, { a: output, bias: w.output.bias }),
    aScale: w.output.scale,
    b: scaledAdd(k, { a: residual, bias: w.residual.bias }),
    bScale: w.residual.scale,
  });
}

function recordZaya(c: ZayaConfig, w: ZayaWeights): RecordRun {
  return (k, { logits }) => {
    const table = scaledAdd(k, { a: embedding(k, w.embedding), bias: w.input.bias });
    let x = scaledAdd(k, { a: table, aScale: w.input.scale }); // (B * T, dModel)
    let before: Tensor | null = null;
    let slot = 0;
    for (const layer of w.layers) {
      const shape = c.attention[layer.type];
      const normed = rmsNorm(k, { x, weight: layer.attentionNorm, eps: c.eps });
      const rotation = w.rotations.get(layer.type) ?? null;
      const mixed = ccaLayer(k, shape, layer.attention, rotation, slot, normed);
      x = addResidual(k, layer.attentionResidual, mixed, x); // (B * T, dModel)
      slot += ccaSlots("", shape).length;

      const wide = rmsNorm(k, { x, weight: layer.expertsNorm, eps: c.eps });
      before = routerState(k, layer.router, wide, before); // (B * T, dRouter)
      const routed = routerHidden(k, layer.router, c.eps, before); // (B * T, dRouter)
      const y = moe(k, c.experts, layer.experts, wide, { routed }); // (B * T, dModel)
      x = addResidual(k, layer.expertsResidual, y, x);
    }
    if (logits === "none") return;
    const wanted = logits === "last" ? lastRows(x, k.length) : x; // (B or B * T, dModel)
    const normed = rmsNorm(k, { x: wanted, weight: w.norm, eps: c.eps });
    const into = k.output(normed.rows, c.vocabSize); // (B or B * T, vocabSize)
    linear(k, normed, w.head, { bias: w.headBias, into });
  };
}

async function loadAffine(from: WeightLoader, at: string, dModel: number): Promise<AffineWeights> {
  return {
    bias: await from.vector(`${at}_bias`, 1, dModel),
    scale: await from.vector(`${at}_scale`, 1, dModel),
  };
}

async function loadResidual(
  from: WeightLoader,
  at: string,
  dModel: number,
): Promise<ResidualWeights> {
  return {
    output: await loadAffine(from, `${at}.hidden_states`, dModel),
    residual: await loadAffine(from, `${at}.residual`, dModel),
  };
}

async function loadRouter(
  c: ZayaConfig,
  from: WeightLoader,
  at: string,
  isFirst: boolean,
): Promise<RouterWeights> {
  const { dModel, dRouter } = c;
  const hidden: RouterWeights["hidden"][number][] = [];
  const down = await from.matrix(`${at}down_proj.weight`, dRouter, dModel, true);
  const downBias = await from.vector(`${at}down_proj.bias`, 1, dRouter);
  const before = isFirst ? null : await from.vector(`${at}router_states_scale`, 1, dRouter);
  const norm = await from.vector(`${at}router_mlp.norm.weight`, 1, dRouter);
  for (const name of ["router_mlp.fc1", "router_mlp.fc2"]) {
    hidden.push({
      weight: await from.matrix(`${at}${name}.weight`, dRouter, dRouter, true),
      bias: await from.vector(`${at}${name}.bias`, 1, dRouter),
    });
  }
  return { down, downBias, before, norm, hidden };
}

/** Of the class that skips the experts, in the choice. */
const SKIP_BIAS = -1;

/** The router has one class more than there are experts: who is in it skips them. */
async function loadExperts(c: ZayaConfig, from: WeightLoader, at: string): Promise<MoeWeights> {
  const { nExpert, dFf, dExpert } = c.experts;
  const gateUp = (half: 0 | 1): ReturnType<typeof eachExpert> =>
    eachExpert(nExpert, (i) => ({
      name: `${at}experts.gate_up_proj`,
      firstRow: (2 * i + half) * dFf,
      rows: dFf,
    }));
  return {
    router: await from.matrix(`${at}gate.router_mlp.out_proj.weight`, nExpert + 1, c.dRouter, true),
    choiceBias: await from.vector(
      `${at}gate.balancing_biases`,
      1,
      nExpert + 1,
      // The library (5.17.0) writes −1 over the skipping class's bias whenever it has loaded a model, whatever the file holds.
      (bias, i) => (i === nExpert ? SKIP_BIAS : bias),
    ),
    gate: await from.matrix(gateUp(0), nExpert * dFf, dExpert),
    up: await from.matrix(gateUp(1), nExpert * dFf, dExpert),
    down: await from.matrix(`${at}experts.down_proj`, nExpert * dExpert, dFf),
  };
}

async function loadWeights(c: ZayaConfig, from: WeightLoader): Promise<ZayaWeights> {
  const { dModel, vocabSize } = c;
  const embeddingTable = await from.matrix("model.embed_tokens.weight", vocabSize, dModel);
  const input = await loadAffine(from, "model.input_hidden_states", dModel);
  const layers: LayerWeights[] = [];
  for (const [i, type] of c.layerTypes.entries()) {
    const at = `model.layers.${i}.`;
    layers.push({
      type,
      attentionNorm: await from.vector(`${at}input_layernorm.weight`, 1, dModel),
      attention: await loadCca(from, `${at}self_attn.`, c.attention[type]),
      attentionResidual: await loadResidual(from, `${at}post_attention_residual_scale`, dModel),
      expertsNorm: await from.vector(`${at}post_attention_layernorm.weight`, 1, dModel),
      router: await loadRouter(c, from, `${at}mlp.gate.`, i === 0),
      experts: await loadExperts(c, from, `${at}mlp.`),
      expertsResidual: await loadResidual(from, `${at}post_mlp_residual_scale`, dModel),
    });
  }
  const rotations = new Map<LayerType, RotationWeights>();
  for (const [type, rotation] of c.rotations)
    rotations.set(type, await loadRotation(from, rotation, "halves"));
  return {
    embedding: embeddingTable,
    input,
    layers,
    norm: await from.vector("model.norm.weight", 1, dModel),
    head: c.tied ? embeddingTable : await from.matrix("lm_head.weight", vocabSize, dModel),
    headBias: c.headBias ? await from.vector("lm_head.bias", 1, vocabSize) : null,
    rotations,
  };
}

function readLayerTypes(config: ConfigFields): readonly LayerType[] {
  const nLayer = config.count(["num_hidden_layers"], 40);
  requireGeometry(nLayer <= MAX_LAYERS, `${nLayer} layers`);
  const types = config.strings(["layer_types"]) ?? Array.from({ length: nLayer }, () => "hybrid");
  requireGeometry(types.length === nLayer, `${types.length} layer_types for ${nLayer} layers`);
  return types.map((type) => {
    if (type === "hybrid" || type === "hybrid_sliding") return type;
    throw config.unsupported("layer_types", '"hybrid" and "hybrid_sliding"');
  });
}

/** Each layer type turns by its own base. */
const THETA: Readonly<Record<LayerType, number>> = { hybrid: 5_000_000, hybrid_sliding: 10_000 };

function readRotations(
  config: ConfigFields,
  types: readonly LayerType[],
  headDim: number,
): ReadonlyMap<LayerType, Rotation> {
  const all = config.object(["rope_parameters"]);
  return new Map(
    [...new Set(types)].map((layerType) => [
      layerType,
      readRotation(config, {
        headDim,
        // All of a head where there are parameters, but none that says how much.
        partial: all?.has(layerType) === true ? 1 : 0.5,
        theta: THETA[layerType],
        maxPositions: 131_072,
        layerType,
      }),
    ]),
  );
}

function readExperts(config: ConfigFields, dModel: number, act: Activation): MoeShape {
  if (config.count(["num_experts_per_tok"], 1) !== 1)
    throw config.unsupported("num_experts_per_tok", "1");
  return {
    dModel: config.count(["router_hidden_size"], 256),
    dExpert: dModel,
    dFf: config.count(["moe_intermediate_size"], 2048),
    nExpert: config.count(["num_experts"], 16),
    topK: 1,
    scoring: "softmax",
    choiceBias: true,
    nGroup: 1,
    topKGroup: 1,
    normalise: false,
    scale: 1,
    act,
    gated: true,
  };
}

function model(c: ZayaConfig): Model {
  for (const type of c.layerTypes) requireCca(c.attention[type]);
  return {
    modelType: "zaya",
    nLayer: c.layerTypes.length,
    dModel: c.dModel,
    vocabSize: c.vocabSize,
    layout: c.layerTypes.flatMap((type, i) => ccaSlots(`layers.${i}`, c.attention[type])),
    load: async (loader) => recordZaya(c, await loadWeights(c, loader)),
  };
}

/** `model_type` "zaya". */
export const zaya: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const layerTypes = readLayerTypes(config);
    const dModel = config.count(["hidden_size"], 2048);
    const headDim = config.count(["head_dim"], 128);
    const experts = readExperts(config, dModel, readActivation(config, ["hidden_act"], "silu"));
    const full: CcaShape = {
      dModel,
      nHead: config.count(["num_attention_heads"], 8),
      nKvHead: config.count(["num_key_value_heads"], 2),
      headDim,
      depthwiseTaps: config.count(["cca_time0"], 2),
      groupedTaps: config.count(["cca_time1"], 2),
      bias: config.boolean(["attention_bias"], false),
      window: null,
    };
    const sliding = layerTypes.includes("hybrid_sliding");
    return model({
      layerTypes,
      dModel,
      attention: {
        hybrid: full,
        hybrid_sliding: { ...full, window: sliding ? config.count(["sliding_window"]) : null },
      },
      rotations: readRotations(config, layerTypes, headDim),
      dRouter: experts.dModel,
      experts,
      vocabSize: config.count(["vocab_size"], 262_272),
      eps: config.positive(["rms_norm_eps"], 1e-5),
      tied: config.boolean(["tie_word_embeddings"], true),
      headBias: config.boolean(["lm_head_bias"], false),
    });
  },

  fromGguf: noGguf("zaya"),
};
