/**
 * Falcon-H1 with flags that no golden model has, against float64 loops (models/testing/plain-layers.ts) that follow the paper
 * and transformers' modelling code, over random weights.
 */
import { test } from "vitest";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { asGguf } from "../testing/as-gguf.ts";
import { expectPlain, folderOf, type PlainCase } from "../testing/plain-case.ts";
import {
  plainAttend,
  plainEmbedding,
  plainGlu,
  plainLinear,
  plainMamba2,
  plainRmsNorm,
  plainRotate,
  plainScaled,
  plainSum,
  silu,
  type Rows,
} from "../testing/plain-layers.ts";
import { named, randomTensors } from "../testing/random-tensors.ts";

type Shapes = Record<string, number[]>;

const IDS = [3, 17, 0, 9, 9, 21, 5, 11];
const VOCABULARY = 23;
const D_MODEL = 20;
const D_FF = 14;
const HEADS = { nHead: 4, nKvHead: 2, headDim: 6, scale: 6 ** -0.5 };
const N_MIXER_HEAD = 6;
const MIXER = { headDim: 5, nGroup: 2, dState: 7 };
const D_INNER = N_MIXER_HEAD * MIXER.headDim;
const D_BC = MIXER.nGroup * MIXER.dState;

function layer(i: number): string {
  return `model.layers.${i}.`;
}

/** @param biased every projection has one */
function layerShapes(i: number, biased: boolean): Shapes {
  const { nHead, nKvHead, headDim } = HEADS;
  const linear = (name: string, rows: number, cols: number): Shapes => ({
    [`${layer(i)}${name}.weight`]: [rows, cols],
    ...(biased ? { [`${layer(i)}${name}.bias`]: [rows] } : {}),
  });
  return {
    [`${layer(i)}input_layernorm.weight`]: [D_MODEL],
    [`${layer(i)}pre_ff_layernorm.weight`]: [D_MODEL],
    ...linear("self_attn.q_proj", nHead * headDim, D_MODEL),
    ...linear("self_attn.k_proj", nKvHead * headDim, D_MODEL),
    ...linear("self_attn.v_proj", nKvHead * headDim, D_MODEL),
    ...linear("self_attn.o_proj", D_MODEL, nHead * headDim),
    ...linear("feed_forward.gate_proj", D_FF, D_MODEL),
    ...linear("feed_forward.up_proj", D_FF, D_MODEL),
    ...linear("feed_forward.down_proj", D_MODEL, D_FF),
    [`${layer(i)}mamba.A_log`]: [N_MIXER_HEAD],
    [`${layer(i)}mamba.D`]: [N_MIXER_HEAD],
    [`${layer(i)}mamba.dt_bias`]: [N_MIXER_HEAD],
    [`${layer(i)}mamba.conv1d.weight`]: [D_INNER + 2 * D_BC, 1, 3],
    [`${layer(i)}mamba.conv1d.bias`]: [D_INNER + 2 * D_BC],
    ...linear("mamba.in_proj", 2 * D_INNER + 2 * D_BC + N_MIXER_HEAD, D_MODEL),
    ...linear("mamba.out_proj", D_MODEL, D_INNER),
    [`${layer(i)}mamba.norm.weight`]: [D_INNER],
  };
}

/**
 * Every multiplier another than 1.
 * @param c what its flags are
 */
function falconH1(c: {
  readonly biased: boolean;
  readonly output: "gate-norm" | "norm-gate" | "gate";
  readonly tied: boolean;
  readonly dtMin: number;
}): PlainCase {
  const { biased, output, tied, dtMin } = c;
  const tensors = randomTensors(
    {
      "model.embed_tokens.weight": [VOCABULARY, D_MODEL],
      ...layerShapes(0, biased),
      ...layerShapes(1, biased),
      "model.final_layernorm.weight": [D_MODEL],
      "lm_head.weight": [VOCABULARY, D_MODEL],
    },
    91,
  );
  const w = named(tensors);
  const project = (x: Rows, name: string): Rows =>
    plainLinear(x, w(`${name}.weight`), biased ? w(`${name}.bias`) : undefined);
  const widths = [D_INNER, D_INNER, D_BC, D_BC, N_MIXER_HEAD];
  const factors = widths.flatMap((width, part) =>
    Array.from({ length: width }, () => [0.8, 1.2, 0.7, 0.9, 1.1][part] ?? NaN),
  );
  let x = plainScaled(plainEmbedding(w("model.embed_tokens.weight"), IDS), 1.7);
  for (const i of [0, 1]) {
    const normed = plainRmsNorm(x, w(`${layer(i)}input_layernorm.weight`));
    const own = named(tensors, `${layer(i)}mamba.`);
    const mixed = plainMamba2(
      plainScaled(normed, 1.25),
      own,
      { ...MIXER, factors, dtMin, output },
      biased ? { input: own("in_proj.bias"), output: own("out_proj.bias") } : {},
    );
    const seen = plainScaled(normed, 1.1);
    const heads = (name: string): Rows => project(seen, `${layer(i)}self_attn.${name}`);
    const turn = (rows: Rows): Rows => plainRotate(rows, HEADS.headDim, HEADS.headDim, 5000);
    const keys = turn(plainScaled(heads("k_proj"), 0.7));
    const attended = plainAttend(turn(heads("q_proj")), keys, heads("v_proj"), HEADS);
    const out = project(attended, `${layer(i)}self_attn.o_proj`);
    x = plainSum(x, plainSum(plainScaled(mixed, 0.75), plainScaled(out, 0.9)));
    const fed = plainRmsNorm(x, w(`${layer(i)}pre_ff_layernorm.weight`));
    const feed = `${layer(i)}feed_forward.`;
    const gate = plainScaled(project(fed, `${feed}gate_proj`), 0.8);
    const hidden = plainGlu(gate, project(fed, `${feed}up_proj`), silu);
    x = plainSum(x, plainScaled(project(hidden, `${feed}down_proj`), 0.6));
  }
  const last = plainRmsNorm(x, w("model.final_layernorm.weight"));
  const head = w(tied ? "model.embed_tokens.weight" : "lm_head.weight");
  return {
    files: folderOf(
      {
        model_type: "falcon_h1",
        vocab_size: VOCABULARY,
        hidden_size: D_MODEL,
        intermediate_size: D_FF,
        num_hidden_layers: 2,
        num_attention_heads: HEADS.nHead,
        num_key_value_heads: HEADS.nKvHead,
        head_dim: HEADS.headDim,
        mamba_d_ssm: D_INNER,
        mamba_n_heads: N_MIXER_HEAD,
        mamba_d_head: "auto",
        mamba_n_groups: MIXER.nGroup,
        mamba_d_state: MIXER.dState,
        mamba_d_conv: 3,
        mamba_rms_norm: output !== "gate",
        mamba_norm_before_gate: output === "norm-gate",
        mamba_proj_bias: biased,
        projectors_bias: biased,
        attention_bias: biased,
        mlp_bias: biased,
        time_step_limit: [dtMin, { __float__: "Infinity" }],
        rope_theta: 5000,
        tie_word_embeddings: tied,
        embedding_multiplier: 1.7,
        lm_head_multiplier: 0.4,
        attention_in_multiplier: 1.1,
        attention_out_multiplier: 0.9,
        key_multiplier: 0.7,
        ssm_in_multiplier: 1.25,
        ssm_out_multiplier: 0.75,
        ssm_multipliers: [0.8, 1.2, 0.7, 0.9, 1.1],
        mlp_multipliers: [0.8, 0.6],
      },
      tensors,
    ),
    ids: IDS,
    logits: plainScaled(plainLinear(last, head), 0.4),
  };
}

forEachBackend("flags of Falcon-H1", (backend) => {
  test.each([
    { biased: true, output: "gate-norm", tied: true, dtMin: 0.05 },
    { biased: true, output: "norm-gate", tied: false, dtMin: 0.05 },
    { biased: false, output: "gate", tied: false, dtMin: 0.05 },
  ] as const)(
    "with biases $biased, $output, tied $tied gives what float64 loops give",
    async (flags) => {
      await expectPlain(backend(), falconH1(flags));
    },
  );

  // llama.cpp has one table where the head is the embedding; here they have other multipliers.
  test.each(["gate", "gate-norm"] as const)(
    "with %s and a tied head gives the same as GGUF",
    async (output) => {
      const plain = falconH1({ biased: false, output, tied: true, dtMin: 0 });
      const gguf = await asGguf(plain.files, "falcon_h1");
      await expectPlain(backend(), { ...plain, files: [gguf] });
    },
  );
});
