/**
 * Codestral Mamba: Mamba-2 in Mistral's own layout, `params.json` and `consolidated.safetensors`; eight groups, each with its own
 * mean in the gated norm. Source: mistralai/mistral-inference, `mamba.py` and `args.py`, which builds the model of
 * state-spaces/mamba and keeps it under "model."; Dao & Gu 2024 (arXiv:2405.21060).
 */
import { noGguf, type Architecture } from "./architecture.ts";
import { ConfigFields } from "./config-fields.ts";
import { mixerModel } from "./state_spaces.ts";

/** `params.json` of Mistral's Mamba models. */
export const codestralMamba: Architecture = {
  fromConfig(json) {
    const params = new ConfigFields(json, "params.json");
    return mixerModel(
      {
        d_model: params.count(["dim"]),
        n_layer: params.count(["n_layers"]),
        vocab_size: params.count(["vocab_size"]),
        ssm_cfg: { layer: "Mamba2", ngroups: params.count(["n_groups"]) },
        rms_norm: params.boolean(["rms_norm"], true),
        pad_vocab_size_multiple: params.count(["pad_vocab_size_multiple"], 1),
        tie_embeddings: params.boolean(["tie_embeddings"], false),
      },
      "model.",
    );
  },
  fromGguf: noGguf("codestral_mamba"),
};
