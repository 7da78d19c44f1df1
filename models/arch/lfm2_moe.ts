/**
 * LFM2 with experts: lfm2.ts, but for the MLPs of all layers after the first few. Sources: LFM2 Technical Report
 * (arXiv:2511.23404); transformers `modeling_lfm2_moe.py`; for GGUF llama.cpp, which calls it `lfm2moe`.
 */
import type { Architecture, GgufDescription } from "./architecture.ts";
import type { MoeShape } from "./blocks/moe.ts";
import { ConfigFields } from "./config-fields.ts";
import { GgufFields } from "./gguf-fields.ts";
import { lfm2GgufFields, readLfm2, readLfm2Gguf } from "./lfm2-config.ts";
import { lfm2Model } from "./lfm2.ts";

/** Each expert by its own sigmoid; a bias takes part in the choice only. */
function moeShape(
  c: Pick<MoeShape, "dModel" | "dFf" | "nExpert" | "topK" | "choiceBias" | "normalise" | "scale">,
): MoeShape {
  const same = { nGroup: 1, topKGroup: 1, scoring: "sigmoid", act: "silu", gated: true } as const;
  return { ...c, dExpert: c.dModel, ...same };
}

/** llama.cpp's number for a router of sigmoids. */
const GGUF_SIGMOID = 2;

/** llama.cpp's router always has the bias, always normalises and never scales. */
function describeGguf(
  fields: GgufDescription["fields"] | null,
  { choiceBias, normalise, scale, nExpert, topK, dFf }: MoeShape,
  nDense: number,
): GgufDescription | null {
  if (fields === null || !choiceBias || !normalise || scale !== 1) return null;
  return {
    architecture: "lfm2moe",
    fields: {
      ...fields,
      expert_count: nExpert,
      expert_used_count: topK,
      expert_feed_forward_length: dFf,
      expert_gating_func: GGUF_SIGMOID,
      leading_dense_block_count: nDense,
    },
  };
}

/** `model_type` "lfm2_moe". */
export const lfm2Moe: Architecture = {
  fromConfig(json) {
    const config = new ConfigFields(json);
    const shared = {
      ...readLfm2(config, { dModel: 2048 }),
      dFf: config.count(["intermediate_size"], 7168),
    };
    const nDense = config.whole(["num_dense_layers"], 2);
    const moe = moeShape({
      dModel: shared.dModel,
      dFf: config.count(["moe_intermediate_size"], 1792),
      nExpert: config.count(["num_experts"], 32),
      topK: config.count(["num_experts_per_tok"], 4),
      choiceBias: config.boolean(["use_expert_bias"], true),
      normalise: config.boolean(["norm_topk_prob"], true),
      scale: config.number(["routed_scaling_factor"], 1),
    });
    const gguf = describeGguf(lfm2GgufFields(config, shared), moe, nDense);
    return lfm2Model({ ...shared, modelType: "lfm2_moe", nDense, moe, gguf });
  },

  fromGguf(metadata, tensors) {
    const config = new GgufFields(metadata, "lfm2moe");
    const shared = readLfm2Gguf(config, tensors);
    if (config.count("expert_gating_func") !== GGUF_SIGMOID)
      throw config.unsupported("expert_gating_func", `${GGUF_SIGMOID}, sigmoid`);
    const moe = moeShape({
      dModel: shared.dModel,
      dFf: config.count("expert_feed_forward_length"),
      nExpert: config.count("expert_count"),
      topK: config.count("expert_used_count"),
      choiceBias: true,
      normalise: true,
      scale: 1,
    });
    const nDense = config.whole("leading_dense_block_count", 0);
    return lfm2Model({ ...shared, modelType: "lfm2_moe", nDense, moe, gguf: null });
  },
};
