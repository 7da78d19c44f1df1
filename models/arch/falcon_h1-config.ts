/**
 * What config.json and GGUF files say of a Falcon-H1 model; the model is in falcon_h1.ts. Sources: transformers
 * `configuration_falcon_h1.py`; llama.cpp, which has every multiplier in a matrix.
 */
import type { Activation } from "../../kernels/spec/activations.ts";
import type { GgufMetadata } from "../weights/gguf-metadata.ts";
import type { JsonObject } from "../weights/json.ts";
import type { TensorSource } from "../weights/source.ts";
import { requireGeometry, requireLayers, type GgufDescription } from "./architecture.ts";
import type { AttentionShape } from "./blocks/attention.ts";
import {
  ggufMamba2Fields,
  ggufMamba2Shapes,
  readGgufMamba2Fields,
} from "./blocks/mamba2-fields.ts";
import type { Mamba2MixerShape } from "./blocks/mamba2-mixer.ts";
import { readActivation } from "./blocks/read-activation.ts";
import { readGgufRotation, readRotation, type Rotation } from "./blocks/rope-frequencies.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";

/** What is multiplied where, [1] table 5; 1 for nothing. */
export interface Multipliers {
  readonly embedding: number;
  readonly head: number;
  readonly attentionIn: number;
  readonly attentionOut: number;
  readonly key: number;
  readonly ssmIn: number;
  readonly ssmOut: number;
  /** Of the mixer's z, x, B, C and dt. */
  readonly ssm: readonly [z: number, x: number, B: number, C: number, dt: number];
  /** Before the MLP's activation, and behind its output. */
  readonly mlp: readonly [gate: number, down: number];
}

/** A model, as either format describes it. */
export interface FalconH1Config {
  readonly nLayer: number;
  readonly dModel: number;
  readonly dFf: number;
  /** Only told on. */
  readonly maxPositions: number;
  readonly vocabSize: number;
  readonly eps: number;
  readonly act: Activation;
  readonly mlpBias: boolean;
  readonly mamba: Mamba2MixerShape;
  /** Its scale is without the multipliers. */
  readonly attention: AttentionShape;
  readonly rotation: Rotation;
  readonly multipliers: Multipliers;
  /** The head is the embedding. */
  readonly tied: boolean;
}

/** Ten times any model; a table of this length is made before the weights are seen. */
const MAX_PROJECTION_ROWS = 2 ** 20;

/** Factors of the mixer's projected columns: z, x, B, C, dt. */
export function projectionFactors({
  mamba,
  multipliers,
}: FalconH1Config): Float32Array<ArrayBuffer> {
  const { nHead, headDim, nGroup, dState } = mamba;
  const widths = [nHead * headDim, nHead * headDim, nGroup * dState, nGroup * dState, nHead];
  const rows = widths.reduce((sum, width) => sum + width, 0);
  requireGeometry(rows <= MAX_PROJECTION_ROWS, `a projection of ${rows} rows`);
  const input = mamba.projectionBias ? 1 : multipliers.ssmIn;
  return Float32Array.from(
    widths.flatMap((width, part) =>
      Array.from({ length: width }, () => (multipliers.ssm[part] ?? 1) * input),
    ),
  );
}

/** The multipliers' fields; what is not there is 1. */
function readMultipliers(config: ConfigFields): Multipliers {
  const one = (field: string): number => config.number([field], 1);
  const list = (field: string, length: number): readonly number[] => {
    const values = config.numbers([field]) ?? Array.from({ length }, () => 1);
    requireGeometry(values.length === length, `${values.length} ${field}, not ${length}`);
    return values;
  };
  const [z = 1, x = 1, B = 1, C = 1, dt = 1] = list("ssm_multipliers", 5);
  const [gateFactor = 1, downFactor = 1] = list("mlp_multipliers", 2);
  return {
    embedding: one("embedding_multiplier"),
    head: one("lm_head_multiplier"),
    attentionIn: one("attention_in_multiplier"),
    attentionOut: one("attention_out_multiplier"),
    key: one("key_multiplier"),
    ssmIn: one("ssm_in_multiplier"),
    ssmOut: one("ssm_out_multiplier"),
    ssm: [z, x, B, C, dt],
    mlp: [gateFactor, downFactor],
  };
}

function readMixer(
  config: ConfigFields,
  c: { readonly dModel: number; readonly eps: number; readonly act: Activation },
): Mamba2MixerShape {
  const { dModel, eps, act } = c;
  // null asks for mamba_expand; 1024 is the default of a field that is not there.
  const dInner = config.isNull("mamba_d_ssm")
    ? Math.trunc(config.positive(["mamba_expand"], 2) * dModel)
    : config.count(["mamba_d_ssm"], 1024);
  const nHead = config.count(["mamba_n_heads"], 128);
  const headDim =
    !config.has("mamba_d_head") || config.is("mamba_d_head", "auto")
      ? Math.floor(dInner / nHead)
      : config.count(["mamba_d_head"]);
  requireGeometry(
    nHead * headDim === dInner,
    `mamba_d_ssm is ${dInner}, but mamba_n_heads · mamba_d_head is ${nHead * headDim}`,
  );
  const nGroup = config.count(["mamba_n_groups"], 1);
  const normFirst = config.boolean(["mamba_norm_before_gate"], true);
  return {
    dModel,
    nHead,
    headDim,
    nGroup,
    dState: config.count(["mamba_d_state"], 256),
    dConv: config.count(["mamba_d_conv"], 4),
    chunkSize: config.count(["mamba_chunk_size"], 256),
    projectionBias: config.boolean(["mamba_proj_bias"], false),
    outBias: config.boolean(["projectors_bias"], false),
    convBias: config.boolean(["mamba_conv_bias"], true),
    act,
    dtLimit: config.range(["time_step_limit"], [0, Infinity]),
    output: !config.boolean(["mamba_rms_norm"], false)
      ? "gate"
      : normFirst
        ? "norm-gate"
        : "gate-norm",
    normEps: eps,
    normGroupSize: dInner / nGroup,
  };
}

/**
 * Reads config.json.
 * @throws WeightsError `missing`, `malformed`, `unsupported`
 */
export function readFalconH1(json: JsonObject): FalconH1Config {
  const config = new ConfigFields(json);
  const dModel = config.count(["hidden_size"], 4096);
  const eps = config.positive(["rms_norm_eps"], 1e-5);
  const act = readActivation(config, ["hidden_act"], "silu");
  const nHead = config.count(["num_attention_heads"], 32);
  const headDim = config.count(["head_dim"], Math.floor(dModel / nHead));
  const attentionBias = config.boolean(["attention_bias"], false);
  return {
    nLayer: requireLayers(config.count(["num_hidden_layers"], 32)),
    dModel,
    dFf: config.count(["intermediate_size"], 14_336),
    maxPositions: config.count(["max_position_embeddings"], 8192),
    vocabSize: config.count(["vocab_size"], 128_000),
    eps,
    act,
    mlpBias: config.boolean(["mlp_bias"], false),
    mamba: readMixer(config, { dModel, eps, act }),
    attention: {
      dIn: dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.isNull("num_key_value_heads")
        ? nHead
        : config.count(["num_key_value_heads"], 8),
      headDim,
      scale: headDim ** -0.5,
      softCap: null,
      window: null,
      qkvBias: attentionBias,
      outBias: attentionBias,
      qkNorm: null,
    },
    rotation: readRotation(config, { headDim, partial: null, maxPositions: 8192 }),
    multipliers: readMultipliers(config),
    tied: config.boolean(["tie_word_embeddings"], false),
  };
}

/** As `readFalconH1`, of a GGUF file: what the multipliers were is in its matrices. */
export function readGgufFalconH1(metadata: GgufMetadata, tensors: TensorSource): FalconH1Config {
  const config = new GgufFields(metadata, "falcon-h1");
  const dModel = config.count("embedding_length");
  const eps = config.positive("attention.layer_norm_rms_epsilon");
  const nHead = config.count("attention.head_count");
  const headDim = config.count("attention.key_length", Math.floor(dModel / nHead));
  const at = "blk.0.";
  return {
    nLayer: requireLayers(config.count("block_count")),
    dModel,
    dFf: config.count("feed_forward_length"),
    maxPositions: config.count("context_length"),
    vocabSize: tensors.info("token_embd.weight").shape[0] ?? 0,
    eps,
    act: "silu",
    mlpBias: tensors.has(`${at}ffn_down.bias`),
    mamba: {
      ...readGgufMamba2Fields(config, tensors, { dModel, eps, at }),
      outBias: tensors.has(`${at}ssm_out.bias`),
      output: tensors.has(`${at}ssm_norm.weight`) ? "gate-norm" : "gate",
    },
    attention: {
      dIn: dModel,
      dOut: dModel,
      nHead,
      nKvHead: config.count("attention.head_count_kv", nHead),
      headDim,
      scale: config.positive("attention.scale", headDim ** -0.5),
      softCap: null,
      window: null,
      qkvBias: tensors.has(`${at}attn_q.bias`),
      outBias: tensors.has(`${at}attn_output.bias`),
      qkNorm: null,
    },
    rotation: readGgufRotation(config, headDim),
    multipliers: readMultipliers(new ConfigFields({})),
    tied: !tensors.has("output.weight"),
  };
}

/** How llama.cpp describes a model; null for what it does not know: biases in projections, none in the convolution, limits of dt, the norm before the gate. */
export function falconH1Gguf(c: FalconH1Config): GgufDescription | null {
  const { mamba, attention, multipliers: m } = c;
  const [dtMin, dtMax] = mamba.dtLimit;
  const biases = [mamba.projectionBias, mamba.outBias, attention.qkvBias, c.mlpBias];
  const known =
    !biases.includes(true) &&
    mamba.convBias &&
    mamba.output !== "norm-gate" &&
    c.act === "silu" &&
    dtMin <= 0 &&
    dtMax === Infinity &&
    c.rotation.gguf !== undefined;
  if (!known) return null;
  // A tied head would take the embedding's factor for its own.
  const apart = c.tied && m.embedding !== m.head;
  return {
    architecture: "falcon-h1",
    fields: {
      block_count: c.nLayer,
      context_length: c.maxPositions,
      embedding_length: c.dModel,
      feed_forward_length: c.dFf,
      "attention.head_count": attention.nHead,
      "attention.head_count_kv": attention.nKvHead,
      "attention.key_length": attention.headDim,
      "attention.value_length": attention.headDim,
      "attention.layer_norm_rms_epsilon": c.eps,
      ...c.rotation.gguf,
      ...ggufMamba2Fields(mamba),
    },
    shapes: ggufMamba2Shapes(mamba),
    ...(apart ? { copies: { "output.weight": "token_embd.weight" } } : {}),
    factors: {
      "token_embd.weight": m.embedding,
      "output.weight": m.head,
      "ssm_in.weight": [...projectionFactors(c)],
      "ssm_out.weight": m.ssmOut,
      "attn_q.weight": m.attentionIn,
      "attn_k.weight": m.attentionIn * m.key,
      "attn_v.weight": m.attentionIn,
      "attn_output.weight": m.attentionOut,
      "ffn_gate.weight": m.mlp[0],
      "ffn_down.weight": m.mlp[1],
    },
  };
}
