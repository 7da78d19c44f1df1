/** The shapes of published models: what their config.json says of them, and their tensors. No value of any of them is here. */
import { mamba2Shapes, mambaShapes } from "../../models/testing/random-tensors.ts";

/** A model without values. */
export interface ModelShape {
  readonly config: Readonly<Record<string, unknown>>;
  /** By the library's names, sides slowest first. */
  readonly tensors: Readonly<Record<string, readonly number[]>>;
}

/**
 * By the name that options call them by. The sizes of Mamba and Mamba-2 are those of arXiv:2312.00752 and arXiv:2405.21060
 * (state-spaces/mamba-130m …); "-like" stands for the published configurations of AI21-Jamba-Reasoning-3B and
 * granite-4.0-h-350m.
 */
export const MODEL_SHAPES = {
  "mamba-130m": mamba(24, 768),
  "mamba-1.4b": mamba(48, 2048),
  "mamba-2.8b": mamba(64, 2560),
  "mamba2-130m": mamba2(24, 768),
  "mamba2-1.3b": mamba2(48, 2048),
  "mamba2-2.7b": mamba2(64, 2560),
  "jamba-3b-like": jamba({ nLayer: 28, dModel: 2560, dFf: 8192, nHead: 20, nKvHead: 1 }),
  "granite-4.0-h-350m-like": granite({ nLayer: 32, attention: [10, 13, 17, 27] }),
} as const satisfies Readonly<Record<string, ModelShape>>;

export type ModelName = keyof typeof MODEL_SHAPES;

/** Mamba with the published models' state of 16. */
export function mamba(nLayer: number, dModel: number, vocab = 50_280): ModelShape {
  const tensors: Record<string, readonly number[]> = embedding("backbone", vocab, dModel);
  for (let layer = 0; layer < nLayer; layer++) {
    const at = `backbone.layers.${layer}.`;
    tensors[`${at}norm.weight`] = [dModel];
    Object.assign(tensors, mambaShapes(`${at}mixer.`, dModel, 16));
  }
  return {
    config: {
      model_type: "mamba",
      hidden_size: dModel,
      intermediate_size: 2 * dModel,
      num_hidden_layers: nLayer,
      state_size: 16,
      time_step_rank: Math.ceil(dModel / 16),
      conv_kernel: 4,
      layer_norm_epsilon: 1e-5,
      tie_word_embeddings: true,
      vocab_size: vocab,
    },
    tensors,
  };
}

/** Mamba-2 with the published models' heads of 64, one group, and a state of 128. */
export function mamba2(nLayer: number, dModel: number, vocab = 50_288): ModelShape {
  const mixer = { headDim: 64, nGroup: 1, dState: 128 };
  const tensors: Record<string, readonly number[]> = embedding("backbone", vocab, dModel);
  for (let layer = 0; layer < nLayer; layer++) {
    const at = `backbone.layers.${layer}.`;
    tensors[`${at}norm.weight`] = [dModel];
    Object.assign(tensors, mamba2Shapes(`${at}mixer.`, dModel, mixer));
  }
  return {
    config: {
      model_type: "mamba2",
      hidden_size: dModel,
      num_hidden_layers: nLayer,
      state_size: mixer.dState,
      head_dim: mixer.headDim,
      num_heads: (2 * dModel) / mixer.headDim,
      n_groups: mixer.nGroup,
      expand: 2,
      conv_kernel: 4,
      layer_norm_epsilon: 1e-5,
      tie_word_embeddings: true,
      vocab_size: vocab,
    },
    tensors,
  };
}

/** Jamba without experts; attention once in 14 layers. */
export function jamba(size: {
  readonly nLayer: number;
  readonly dModel: number;
  readonly dFf: number;
  readonly nHead: number;
  readonly nKvHead: number;
}): ModelShape {
  const { nLayer, dModel, dFf, nHead, nKvHead } = size;
  const [vocab, period, offset, dState] = [65_536, 14, 7, 16];
  const tensors: Record<string, readonly number[]> = {
    "model.embed_tokens.weight": [vocab, dModel],
    "model.final_layernorm.weight": [dModel],
  };
  for (let layer = 0; layer < nLayer; layer++) {
    const at = `model.layers.${layer}.`;
    tensors[`${at}input_layernorm.weight`] = [dModel];
    if (layer % period === offset) {
      Object.assign(tensors, attention(at, dModel, nHead, nKvHead));
    } else {
      Object.assign(tensors, mambaShapes(`${at}mamba.`, dModel, dState));
      tensors[`${at}mamba.dt_layernorm.weight`] = [Math.ceil(dModel / 16)];
      tensors[`${at}mamba.b_layernorm.weight`] = [dState];
      tensors[`${at}mamba.c_layernorm.weight`] = [dState];
    }
    tensors[`${at}pre_ff_layernorm.weight`] = [dModel];
    tensors[`${at}feed_forward.gate_proj.weight`] = [dFf, dModel];
    tensors[`${at}feed_forward.up_proj.weight`] = [dFf, dModel];
    tensors[`${at}feed_forward.down_proj.weight`] = [dModel, dFf];
  }
  return {
    config: {
      model_type: "jamba",
      hidden_size: dModel,
      intermediate_size: dFf,
      num_hidden_layers: nLayer,
      num_attention_heads: nHead,
      num_key_value_heads: nKvHead,
      attn_layer_period: period,
      attn_layer_offset: offset,
      num_experts: 1,
      num_experts_per_tok: 1,
      mamba_d_state: dState,
      mamba_d_conv: 4,
      mamba_expand: 2,
      mamba_dt_rank: Math.ceil(dModel / 16),
      mamba_conv_bias: true,
      mamba_proj_bias: false,
      rms_norm_eps: 1e-6,
      tie_word_embeddings: true,
      vocab_size: vocab,
    },
    tensors,
  };
}

/** Granite 4.0 hybrid without experts. */
export function granite(size: {
  readonly nLayer: number;
  readonly attention: readonly number[];
}): ModelShape {
  const { nLayer } = size;
  const [vocab, dModel, dFf, nHead, nKvHead] = [100_352, 768, 2048, 12, 4];
  const mixer = { headDim: 32, nGroup: 1, dState: 128 };
  const tensors: Record<string, readonly number[]> = {
    "model.embed_tokens.weight": [vocab, dModel],
    "model.norm.weight": [dModel],
  };
  for (let layer = 0; layer < nLayer; layer++) {
    const at = `model.layers.${layer}.`;
    tensors[`${at}input_layernorm.weight`] = [dModel];
    if (size.attention.includes(layer))
      Object.assign(tensors, attention(at, dModel, nHead, nKvHead));
    else Object.assign(tensors, mamba2Shapes(`${at}mamba.`, dModel, mixer));
    tensors[`${at}post_attention_layernorm.weight`] = [dModel];
    tensors[`${at}shared_mlp.input_linear.weight`] = [2 * dFf, dModel];
    tensors[`${at}shared_mlp.output_linear.weight`] = [dModel, dFf];
  }
  return {
    config: {
      model_type: "granitemoehybrid",
      hidden_size: dModel,
      intermediate_size: dFf,
      shared_intermediate_size: dFf,
      num_hidden_layers: nLayer,
      layer_types: Array.from({ length: nLayer }, (_, layer) =>
        size.attention.includes(layer) ? "attention" : "mamba",
      ),
      num_attention_heads: nHead,
      num_key_value_heads: nKvHead,
      num_local_experts: 0,
      num_experts_per_tok: 0,
      position_embedding_type: "nope",
      attention_multiplier: 0.015625,
      embedding_multiplier: 12,
      residual_multiplier: 0.246,
      logits_scaling: 3,
      mamba_n_heads: (2 * dModel) / mixer.headDim,
      mamba_d_head: mixer.headDim,
      mamba_n_groups: mixer.nGroup,
      mamba_d_state: mixer.dState,
      mamba_d_conv: 4,
      mamba_expand: 2,
      mamba_conv_bias: true,
      mamba_proj_bias: false,
      rms_norm_eps: 1e-5,
      tie_word_embeddings: true,
      max_position_embeddings: 32_768,
      vocab_size: vocab,
    },
    tensors,
  };
}

function embedding(at: string, vocab: number, dModel: number): Record<string, readonly number[]> {
  return { [`${at}.embeddings.weight`]: [vocab, dModel], [`${at}.norm_f.weight`]: [dModel] };
}

function attention(
  at: string,
  dModel: number,
  nHead: number,
  nKvHead: number,
): Record<string, readonly number[]> {
  const kv = (dModel / nHead) * nKvHead;
  return {
    [`${at}self_attn.q_proj.weight`]: [dModel, dModel],
    [`${at}self_attn.k_proj.weight`]: [kv, dModel],
    [`${at}self_attn.v_proj.weight`]: [kv, dModel],
    [`${at}self_attn.o_proj.weight`]: [dModel, dModel],
  };
}
