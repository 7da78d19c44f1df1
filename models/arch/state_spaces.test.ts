import { describe, expect, test } from "vitest";
import { WeightsError } from "../weights/errors.ts";
import { stateSpaces } from "./state_spaces.ts";

describe("the authors' configurations", () => {
  const mamba2 = { layer: "Mamba2", headdim: 8 };
  const attention = { attn_layer_idx: [0], attn_cfg: { num_heads: 2 } };
  test.each([
    ["a mixer of another kind", { ssm_cfg: { layer: "Mamba4" } }, /"layer".*not supported/],
    [
      "heads that are partly an MLP",
      { ssm_cfg: { ...mamba2, d_ssm: 16 } },
      /"d_ssm".*not supported/,
    ],
    [
      "a D for each channel",
      { ssm_cfg: { ...mamba2, D_has_hdim: true } },
      /"D_has_hdim".*not supported/,
    ],
    ["attention to what comes later", attention, /"causal".*not supported/],
    [
      "a third of the rotation",
      { ssm_cfg: { layer: "Mamba3", rope_fraction: 0.3 } },
      /"rope_fraction".*not supported/,
    ],
    [
      "another A",
      { ssm_cfg: { layer: "Mamba3", A_activation: "exp" } },
      /"A_activation".*not supported/,
    ],
  ])("are refused with %s", (_, config, message) => {
    const json = { d_model: 16, n_layer: 1, vocab_size: 8, ...config };
    expect(() => stateSpaces.fromConfig(json)).toThrow(WeightsError);
    expect(() => stateSpaces.fromConfig(json)).toThrow(message);
  });

  test("say what llama.cpp would call the model, where it has one", () => {
    const base = { d_model: 48, n_layer: 2, vocab_size: 8 };
    const architecture = (config: object): string | undefined =>
      stateSpaces.fromConfig({ ...base, ...config }).gguf?.architecture;
    expect(architecture({ ssm_cfg: {} })).toBe("mamba");
    expect(architecture({ ssm_cfg: { ...mamba2, ngroups: 2 } })).toBe("mamba2");
    expect(architecture({ ssm_cfg: {}, rms_norm: false })).toBeUndefined();
    expect(architecture({ ssm_cfg: { layer: "Mamba3", headdim: 8 } })).toBeUndefined();
  });
});
