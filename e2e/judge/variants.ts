/** Golden models with other fields in their configurations: what has no golden outputs must at least be the same in both. */
import type { GoldenFolder } from "../../models/testing/golden-folders.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";
import { memoryFile } from "../../models/weights/memory-file.ts";

const rope = (fields: object): object => ({
  rope_parameters: { rope_theta: 10_000, rope_type: "default", ...fields },
});

/** By golden model: fields of config.json that change what is computed and no tensor's shape. */
export const VARIANTS: readonly (readonly [folder: string, fields: object])[] = [
  ["mamba", { layer_norm_epsilon: 1e-3 }],
  ["mamba2", { layer_norm_epsilon: 1e-3 }],
  ["granitemoehybrid", { position_embedding_type: "rope" }],
  ["granitemoehybrid", { position_embedding_type: "rope", ...rope({ rope_theta: 500_000 }) }],
  [
    "granitemoehybrid",
    {
      embedding_multiplier: 12,
      logits_scaling: 0.5,
      residual_multiplier: 0.22,
      attention_multiplier: 0.0156,
    },
  ],
  [
    "granitemoehybrid",
    { embedding_multiplier: 1, logits_scaling: 1, residual_multiplier: 1, num_experts_per_tok: 1 },
  ],
  ["granitemoehybrid_dense", { position_embedding_type: "rope", rms_norm_eps: 1e-3 }],
  ["bamba", { rms_norm_eps: 1e-3, ...rope({ rope_theta: 500, partial_rotary_factor: 1 }) }],
  [
    "falcon_h1",
    {
      embedding_multiplier: 5.5,
      lm_head_multiplier: 0.3,
      attention_in_multiplier: 0.5,
      attention_out_multiplier: 0.9,
      ssm_in_multiplier: 1.3,
      ssm_out_multiplier: 0.2,
      key_multiplier: 0.4,
      mlp_multipliers: [0.9, 0.2],
      ssm_multipliers: [0.3, 0.2, 0.17, 0.5, 0.35],
    },
  ],
  ["falcon_h1", rope({ rope_type: "linear", factor: 4 })],
  ["nemotron_h", { layer_norm_epsilon: 1e-3 }],
  ["nemotron_h_moe", { norm_topk_prob: false }],
  ["nemotron_h_moe", { routed_scaling_factor: 2.5, num_experts_per_tok: 1 }],
  ["nemotron_h_moe", { n_group: 2, topk_group: 1 }],
  ["jamba", { num_experts_per_tok: 1, rms_norm_eps: 1e-3 }],
  ["lfm2", rope({ rope_theta: 1000 })],
  ["lfm2", rope({ rope_type: "linear", factor: 4 })],
  ["lfm2_moe", { num_experts_per_tok: 3 }],
  ["kimi_linear", { routed_scaling_factor: 3, num_experts_per_token: 1 }],
  ["kimi_linear", { num_expert_group: 2, topk_group: 1 }],
  ["qwen3_next", { num_experts_per_tok: 1 }],
  ["qwen3_next", { partial_rotary_factor: 0.5, ...rope({ partial_rotary_factor: 0.5 }) }],
  ["qwen3_5_text", { partial_rotary_factor: 1, ...rope({ partial_rotary_factor: 1 }) }],
];

/** The files of a golden model, with other fields in its config.json. */
export async function variantFiles(
  golden: GoldenFolder,
  fields: object,
): Promise<readonly RandomAccessFile[]> {
  return Promise.all(
    golden.files().map(async (file) => {
      if (file.name !== "config.json") return file;
      const text = new TextDecoder().decode(await file.read(0, file.bytes));
      const config = JSON.stringify({ ...(JSON.parse(text) as object), ...fields });
      return memoryFile("config.json", new TextEncoder().encode(config));
    }),
  );
}
