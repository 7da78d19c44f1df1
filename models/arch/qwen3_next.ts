/**
 * Qwen3-Next: three layers of Gated DeltaNet (arXiv:2412.06464), then one of gated attention (arXiv:2505.06708), each
 * followed by experts with one that all tokens share. Source: transformers `modeling_qwen3_next.py`; for GGUF llama.cpp.
 */
import type { JsonObject } from "../weights/json.ts";
import type { Architecture, Model } from "./architecture.ts";
import type { DeltaNetNames, DeltaNetShape } from "./blocks/gated-delta-net.ts";
import {
  describeQwenHybrid,
  readExperts,
  readQwenHybrid,
  readQwenHybridGguf,
} from "./blocks/qwen-hybrid-fields.ts";
import { qwenHybridModel, type FeedForwardShape } from "./blocks/qwen-hybrid.ts";
import { ConfigFields } from "./config-fields.ts";
import type { MatrixPart, MatrixParts } from "./matrix-parts.ts";
import type { WeightLoader } from "./weight-loader.ts";

/**
 * The files keep the projections interleaved: of each key head its q, its k, the values and the gates of its value heads;
 * and of each key head the β, then the dt of its value heads.
 * @returns parts that put equal things side by side
 */
function interleaved(
  c: DeltaNetShape,
  qkvz: string,
): { readonly qkv: MatrixParts; readonly z: MatrixParts } {
  const { nKeyHead, nValueHead, headDimK, headDimV } = c;
  const values = (nValueHead / nKeyHead) * headDimV; // of one key head
  const stride = 2 * headDimK + 2 * values;
  const part = (first: number, width: number): MatrixPart => ({
    name: qkvz,
    rows: nKeyHead * width,
    storedRows: nKeyHead * stride,
    order: (row) => Math.floor(row / width) * stride + first + (row % width),
  });
  return {
    qkv: [part(0, headDimK), part(headDimK, headDimK), part(2 * headDimK, values)],
    z: [part(2 * headDimK + values, values)],
  };
}

/** Rows of β, then of dt. */
function interleavedBa({ nKeyHead, nValueHead }: DeltaNetShape, name: string): MatrixParts {
  const repeat = nValueHead / nKeyHead;
  const order = (row: number): number => {
    const head = row % nValueHead;
    const first = row < nValueHead ? 0 : repeat;
    return Math.floor(head / repeat) * 2 * repeat + first + (head % repeat);
  };
  return [{ name, rows: 2 * nValueHead, order }];
}

function deltaNetNames(c: DeltaNetShape, from: WeightLoader, at: string): DeltaNetNames {
  if (from.format === "gguf") {
    const qkv = `${at}attn_qkv.weight`;
    return {
      // llama.cpp's first files kept the projections as Hugging Face's do.
      ...(from.has(qkv)
        ? { qkv, z: `${at}attn_gate.weight` }
        : interleaved(c, `${at}ssm_in.weight`)),
      ba: interleavedBa(c, `${at}ssm_ba.weight`),
      conv: `${at}ssm_conv1d.weight`,
      dtBias: `${at}ssm_dt.bias`,
      A: `${at}ssm_a`,
      norm: `${at}ssm_norm.weight`,
      out: `${at}ssm_out.weight`,
    };
  }
  const mixer = `${at}linear_attn.`;
  return {
    ...interleaved(c, `${mixer}in_proj_qkvz.weight`),
    ba: interleavedBa(c, `${mixer}in_proj_ba.weight`),
    conv: `${mixer}conv1d.weight`,
    dtBias: `${mixer}dt_bias`,
    A: `${mixer}A_log`,
    norm: `${mixer}norm.weight`,
    out: `${mixer}out_proj.weight`,
  };
}

/** Experts in every `decoder_sparse_step`-th layer, but not in `mlp_only_layers`. */
function readFeedForwards(
  config: ConfigFields,
  dModel: number,
  nLayer: number,
): readonly FeedForwardShape[] {
  const dense: FeedForwardShape = {
    kind: "mlp",
    dFf: config.count(["intermediate_size"], 5632),
  };
  const step = config.count(["decoder_sparse_step"], 1);
  const mlpOnly = new Set(config.numbers(["mlp_only_layers"]) ?? []);
  if (config.whole(["num_experts"], 512) === 0) return Array.from({ length: nLayer }, () => dense);
  const sparse = readExperts(config, dModel, {
    nExpert: 512,
    topK: 10,
    normalise: config.boolean(["norm_topk_prob"], true),
  });
  return Array.from({ length: nLayer }, (_, i) =>
    !mlpOnly.has(i) && (i + 1) % step === 0 ? sparse : dense,
  );
}

const MODEL_TYPE = "qwen3_next";
const GGUF_ARCHITECTURE = "qwen3next";

function fromConfig(json: JsonObject): Model {
  const config = new ConfigFields(json);
  const fields = readQwenHybrid(
    config,
    { vocabSize: 151936, dModel: 2048, nLayer: 48, nHead: 16, nKvHead: 2 },
    "grouped",
  );
  const c = {
    ...fields,
    modelType: MODEL_TYPE,
    feedForwards: readFeedForwards(config, fields.dModel, fields.mixers.length),
  };
  // llama.cpp has experts in every layer, and always divides their weights by their sum.
  const described = c.feedForwards.every((shape) => shape.kind === "experts" && shape.moe.normalise)
    ? describeQwenHybrid(c, GGUF_ARCHITECTURE)
    : undefined;
  return qwenHybridModel(c, (from, at) => deltaNetNames(c.delta, from, at), described);
}

/** `model_type` "qwen3_next", "qwen3next" in GGUF files. */
export const qwen3Next: Architecture = {
  fromConfig,

  fromGguf(metadata, tensors) {
    const fields = readQwenHybridGguf(metadata, tensors, GGUF_ARCHITECTURE, "grouped");
    const c = { ...fields, modelType: MODEL_TYPE };
    return qwenHybridModel(c, (from, at) => deltaNetNames(c.delta, from, at), undefined);
  },
};
