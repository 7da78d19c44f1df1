/**
 * Models in other layouts than Hugging Face's. Where a golden model can be renamed into the layout, its golden outputs are
 * expected; where none can, the outputs of float64 loops (models/testing/plain-layers.ts) over random weights.
 */
import { expect, test } from "vitest";
import { expectAllClose, furthest } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureBytes, loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { ConversionError } from "../convert/errors.ts";
import { asGguf } from "../testing/as-gguf.ts";
import { expectGoldenStates } from "../testing/golden-states.ts";
import {
  plainMha,
  plainEmbedding,
  plainGatedMlp,
  plainLayerNorm,
  plainLinear,
  plainMamba,
  plainMamba2,
  plainRmsNorm,
  plainSum,
  type Rows,
} from "../testing/plain-layers.ts";
import { mamba2Shapes, mambaShapes, named, randomTensors } from "../testing/random-tensors.ts";
import { readTensors, safetensorsFile, type TestTensor } from "../testing/stored-tensors.ts";
import { recordDifference, recordGgufRefusal } from "../testing/support.ts";
import { argmax, loadTestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import { openModel } from "../weights/open-model.ts";
import { describeModel } from "./registry.ts";

type Tensors = ReadonlyMap<string, TestTensor>;

function folder(
  config: object,
  tensors: Tensors,
  names: { readonly config: string; readonly weights: string } = {
    config: "config.json",
    weights: "model.safetensors",
  },
): readonly RandomAccessFile[] {
  const weights = safetensorsFile(tensors);
  return [
    memoryFile(names.config, new TextEncoder().encode(JSON.stringify(config))),
    { ...weights, name: names.weights },
  ];
}

/** A golden model under the authors' names, which differ in one. */
function renamed(model: string): Tensors {
  const stored = readTensors(fixtureBytes(`models/${model}/model.safetensors`));
  return new Map(
    [...stored].map(([name, tensor]) => [
      name.replace("backbone.embeddings", "backbone.embedding"),
      tensor,
    ]),
  );
}

const GOLDEN = [
  {
    model: "mamba",
    // 112 rows: the vocabulary rounded up.
    config: { d_model: 48, n_layer: 3, vocab_size: 109, ssm_cfg: {}, pad_vocab_size_multiple: 8 },
  },
  {
    model: "mamba2",
    config: {
      d_model: 48,
      d_intermediate: 0,
      n_layer: 3,
      vocab_size: 112,
      ssm_cfg: { layer: "Mamba2", d_state: 16, headdim: 24 },
      attn_layer_idx: [],
      attn_cfg: {},
      tie_embeddings: false,
    },
  },
];

/** A model and the logits that the loops give for some tokens. */
interface PlainCase {
  readonly files: readonly RandomAccessFile[];
  readonly ids: readonly number[];
  readonly logits: Rows;
}

/** Mistral's layout: eight groups of one head, each normalised by itself. */
function codestral(): PlainCase {
  const dModel = 256;
  const mixer = { headDim: 64, nGroup: 8, dState: 128 };
  const at = "model.backbone.layers.0.";
  const tensors = randomTensors(
    {
      "model.backbone.embedding.weight": [24, dModel],
      [`${at}norm.weight`]: [dModel],
      ...mamba2Shapes(`${at}mixer.`, dModel, mixer),
      "model.backbone.norm_f.weight": [dModel],
      "model.lm_head.weight": [24, dModel],
    },
    81,
  );
  const w = named(tensors);
  const ids = [3, 17, 0, 9, 9, 21];
  let x = plainEmbedding(w("model.backbone.embedding.weight"), ids);
  const normed = plainRmsNorm(x, w(`${at}norm.weight`));
  x = plainSum(x, plainMamba2(normed, named(tensors, `${at}mixer.`), mixer));
  const head = w("model.lm_head.weight");
  return {
    files: folder(
      {
        dim: dModel,
        n_layers: 1,
        vocab_size: 24,
        n_groups: 8,
        rms_norm: true,
        residual_in_fp32: true,
        fused_add_norm: true,
        pad_vocab_size_multiple: 1,
        tie_embeddings: false,
        model_type: "mamba",
      },
      tensors,
      { config: "params.json", weights: "consolidated.safetensors" },
    ),
    ids,
    logits: plainLinear(plainRmsNorm(x, w("model.backbone.norm_f.weight")), head),
  };
}

/** Attention in the second layer, layer norms, an MLP behind each mixer, tied, the vocabulary rounded up. */
function hybrid(): PlainCase {
  const dModel = 24;
  const dFf = 128;
  const mixer = { headDim: 8, nGroup: 2, dState: 6 };
  const heads = { nHead: 4, nKvHead: 2, headDim: 8, scale: 8 ** -0.5, rotaryDim: 6, dMlp: 256 };
  const dQkv = (heads.nHead + 2 * heads.nKvHead) * heads.headDim;
  const layer = (i: number): string => `backbone.layers.${i}.`;
  const norm = (at: string): Record<string, number[]> => ({
    [`${at}.weight`]: [dModel],
    [`${at}.bias`]: [dModel],
  });
  const shapes = [0, 1, 2].map((i) => ({
    ...norm(`${layer(i)}norm`),
    ...(i === 1
      ? {
          [`${layer(i)}mixer.in_proj.weight`]: [dQkv + heads.dMlp, dModel],
          [`${layer(i)}mixer.in_proj.bias`]: [dQkv + heads.dMlp],
          [`${layer(i)}mixer.conv1d.weight`]: [dQkv, 1, 3],
          [`${layer(i)}mixer.conv1d.bias`]: [dQkv],
          [`${layer(i)}mixer.out_proj.weight`]: [dModel, 32 + heads.dMlp / 2],
          [`${layer(i)}mixer.out_proj.bias`]: [dModel],
        }
      : mamba2Shapes(`${layer(i)}mixer.`, dModel, mixer)),
    ...norm(`${layer(i)}norm2`),
    [`${layer(i)}mlp.fc1.weight`]: [2 * dFf, dModel],
    [`${layer(i)}mlp.fc2.weight`]: [dModel, dFf],
  }));
  const tensors = randomTensors(
    {
      "backbone.embedding.weight": [32, dModel],
      ...Object.assign({}, ...shapes),
      ...norm("backbone.norm_f"),
    },
    82,
  );
  const w = named(tensors);
  const normalised = (x: Rows, at: string): Rows =>
    plainLayerNorm(x, w(`${at}.weight`), w(`${at}.bias`));
  const ids = [1, 30, 4, 4, 0, 12, 7, 28, 3];
  const table = w("backbone.embedding.weight");
  let x = plainEmbedding(table, ids);
  for (const i of [0, 1, 2]) {
    const mixed = normalised(x, `${layer(i)}norm`);
    const own = named(tensors, `${layer(i)}mixer.`);
    x = plainSum(x, i === 1 ? plainMha(mixed, own, heads) : plainMamba2(mixed, own, mixer));
    const fed = normalised(x, `${layer(i)}norm2`);
    x = plainSum(
      x,
      plainGatedMlp(fed, w(`${layer(i)}mlp.fc1.weight`), w(`${layer(i)}mlp.fc2.weight`)),
    );
  }
  return {
    files: folder(
      {
        d_model: dModel,
        d_intermediate: 100,
        n_layer: 3,
        vocab_size: 27,
        ssm_cfg: { layer: "Mamba2", headdim: 8, ngroups: 2, d_state: 6 },
        attn_layer_idx: [1],
        attn_cfg: {
          causal: true,
          num_heads: 4,
          num_heads_kv: 2,
          head_dim: 8,
          d_conv: 3,
          rotary_emb_dim: 6,
          mlp_dim: 200,
        },
        rms_norm: false,
        pad_vocab_size_multiple: 16,
      },
      tensors,
    ),
    ids,
    logits: plainLinear(normalised(x, "backbone.norm_f"), table),
  };
}

/** arXiv:2401.13660 §3: Mamba over UTF-8 bytes. */
function mambaByte(): PlainCase {
  const dModel = 16;
  const layer = (i: number): string => `backbone.layers.${i}.`;
  const tensors = randomTensors(
    {
      "backbone.embedding.weight": [256, dModel],
      ...mambaShapes(`${layer(0)}mixer.`, dModel, 16),
      ...mambaShapes(`${layer(1)}mixer.`, dModel, 16),
      [`${layer(0)}norm.weight`]: [dModel],
      [`${layer(1)}norm.weight`]: [dModel],
      "backbone.norm_f.weight": [dModel],
    },
    84,
  );
  const w = named(tensors);
  const ids = [...new TextEncoder().encode("Tarn: λ 🜂")];
  const table = w("backbone.embedding.weight");
  let x = plainEmbedding(table, ids);
  for (const i of [0, 1]) {
    const normed = plainRmsNorm(x, w(`${layer(i)}norm.weight`));
    x = plainSum(x, plainMamba(normed, named(tensors, `${layer(i)}mixer.`)));
  }
  return {
    files: folder({ d_model: dModel, n_layer: 2, vocab_size: 256, ssm_cfg: {} }, tensors),
    ids,
    logits: plainLinear(plainRmsNorm(x, w("backbone.norm_f.weight")), table),
  };
}

/** arXiv:2401.04081 §3.2: the best expert's output times its probability. */
function moeMamba(): PlainCase {
  const dModel = 20;
  const dFf = 12;
  const nExpert = 5;
  const layer = (i: number): string => `backbone.layers.${i}.`;
  const experts = (i: number): Record<string, number[]> => ({
    [`${layer(i)}moe.router.weight`]: [nExpert, dModel],
    ...Object.fromEntries(
      Array.from({ length: nExpert }, (_, e) => [
        [`${layer(i)}moe.experts.${e}.up_proj.weight`, [dFf, dModel]],
        [`${layer(i)}moe.experts.${e}.down_proj.weight`, [dModel, dFf]],
      ]).flat(),
    ),
  });
  const tensors = randomTensors(
    {
      "backbone.embeddings.weight": [19, dModel],
      ...mambaShapes(`${layer(0)}mixer.`, dModel, 6),
      ...experts(1),
      ...mambaShapes(`${layer(2)}mixer.`, dModel, 6),
      ...experts(3),
      ...Object.fromEntries([0, 1, 2, 3].map((i) => [`${layer(i)}norm.weight`, [dModel]])),
      "backbone.norm_f.weight": [dModel],
      "lm_head.weight": [19, dModel],
    },
    83,
  );
  const w = named(tensors);
  const ids = [5, 2, 18, 11, 0, 7, 7, 3];
  let x = plainEmbedding(w("backbone.embeddings.weight"), ids);
  for (const i of [0, 1, 2, 3]) {
    const normed = plainRmsNorm(x, w(`${layer(i)}norm.weight`));
    x = plainSum(
      x,
      i % 2 === 0
        ? plainMamba(normed, named(tensors, `${layer(i)}mixer.`))
        : normed.map((token) => switched(token, named(tensors, `${layer(i)}moe.`))),
    );
  }
  return {
    files: folder(
      {
        model_type: "moe_mamba",
        hidden_size: dModel,
        num_hidden_layers: 4,
        vocab_size: 19,
        state_size: 6,
        num_experts: nExpert,
        intermediate_size: dFf,
      },
      tensors,
    ),
    ids,
    logits: plainLinear(plainRmsNorm(x, w("backbone.norm_f.weight")), w("lm_head.weight")),
  };
}

function switched(token: readonly number[], w: (name: string) => TestTensor): readonly number[] {
  const [scores = []] = plainLinear([token], w("router.weight"));
  const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
  const best = scores.indexOf(Math.max(...scores));
  const [hidden = []] = plainLinear([token], w(`experts.${best}.up_proj.weight`));
  const relu = hidden.map((value) => Math.max(value, 0));
  const [out = []] = plainLinear([relu], w(`experts.${best}.down_proj.weight`));
  return out.map((value) => (value * Math.exp(scores[best] ?? NaN)) / total);
}

/** What it is, what builds it, and the row of docs/support.md that it belongs to. */
const PLAIN: readonly (readonly [string, () => PlainCase, string])[] = [
  ["Codestral Mamba from params.json and consolidated.safetensors", codestral, "codestral_mamba"],
  ["a hybrid with attention, layer norms and MLPs", hybrid, "state_spaces"],
  ["MambaByte", mambaByte, "state_spaces"],
  ["MoE-Mamba", moeMamba, "moe_mamba"],
];
const PREFILL = { phase: "prefill", logits: "all" } as const;

forEachBackend("other layouts", (backend, backendName) => {
  test.each(GOLDEN)("$model in its authors' layout gives the golden outputs", async (golden) => {
    const outputs = loadGolden(`models/${golden.model}/golden.safetensors`);
    const loaded = await loadTestModel(backend(), folder(golden.config, renamed(golden.model)));
    const state = loaded.createState(1);
    const logits = await loaded.run(state, [outputs.i32("p0.input_ids")], PREFILL);
    const expected = outputs.f32("p0.logits").values;
    expectAllClose(logits, expected, LOGITS, "logits");
    const { modelType, layout, vocabSize } = loaded.model;
    expect(modelType).toBe(golden.model);
    const states = await backend().readState(state, 0);
    expectGoldenStates(modelType, layout, states, outputs, "p0");
    const greedy = outputs.i32("p0.greedy");
    expect(argmax(logits.subarray(-vocabSize))).toBe(greedy[0]);
    const next = await loaded.run(state, [greedy.slice(0, 1)], { phase: "decode", logits: "last" });
    expectAllClose(
      next,
      outputs.f32("p0.decode_logits").values.subarray(0, vocabSize),
      LOGITS,
      "decode logits",
    );
    const place = { modelType: "state_spaces", folder: `authors-${golden.model}`, prompt: "p0" };
    recordDifference(
      { ...place, format: "safetensors", backend: backendName },
      furthest(logits, expected),
    );
    state.release();
    loaded.release();
  });

  test.each(PLAIN)("%s gives what float64 loops give", async (_, build, modelType) => {
    const { files, ids, logits: rows } = build();
    const expected = rows.flat();
    const loaded = await loadTestModel(backend(), files);
    const place = { modelType, folder: `plain-${build.name}`, prompt: "p0", backend: backendName };
    for (const chunk of [ids.length, 4]) {
      const state = loaded.createState(1);
      const logits = await loaded.run(state, [ids], { ...PREFILL, chunk });
      expectAllClose(logits, expected, LOGITS, `logits in chunks of ${chunk}`);
      recordDifference({ ...place, format: "safetensors" }, furthest(logits, expected));
      state.release();
    }
    loaded.release();
  });

  test.each(PLAIN)(
    "%s gives the same as GGUF, if it can be written",
    async (_, build, modelType) => {
      const { files, ids, logits: rows } = build();
      const expected = rows.flat();
      const place = {
        modelType,
        folder: `plain-${build.name}`,
        prompt: "p0",
        backend: backendName,
      };
      const { config, tensors, close } = await openModel(files);
      const { gguf } = describeModel(config, tensors);
      await close();
      if (gguf === undefined) {
        await expect(asGguf(files, modelType)).rejects.toThrow(ConversionError);
        await recordGgufRefusal(place, files);
        return;
      }
      const converted = await loadTestModel(backend(), [await asGguf(files, modelType)]);
      const state = converted.createState(1);
      const logits = await converted.run(state, [ids], PREFILL);
      expectAllClose(logits, expected, LOGITS, "logits");
      recordDifference({ ...place, format: "GGUF" }, furthest(logits, expected));
      state.release();
      converted.release();
    },
  );
});
