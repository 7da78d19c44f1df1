/**
 * RWKV-7 in the layouts of fla and of llama.cpp: the golden model's tensors, renamed and rearranged here, give the golden
 * outputs. The author's own layout is among the golden models.
 */
import { describe, expect, test } from "vitest";
import type { Backend } from "../../kernels/spec/backend.ts";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureBytes, loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { ggufBytes, type GgufEntries } from "../convert/gguf-writer.ts";
import { expectGoldenStates } from "../testing/golden-states.ts";
import {
  readTensors,
  safetensorsFile,
  transposed,
  type TestTensor,
} from "../testing/stored-tensors.ts";
import { recordDifference } from "../testing/support.ts";
import { argmax, loadTestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import { WeightsError } from "../weights/errors.ts";
import { rwkv7 } from "./rwkv7.ts";

const golden = loadGolden("models/rwkv7/golden.safetensors");
const author = readTensors(fixtureBytes("models/rwkv7/model.safetensors"));
const LAYERS = 3;
const WIDTH = 48;
const HEAD = 16;
/** In the order of the fused tensors. */
const MIXTURES = ["r", "w", "k", "v", "a", "g"];

const FLA_CONFIG = {
  model_type: "rwkv7",
  architectures: ["RWKV7ForCausalLM"],
  attn: null,
  attn_mode: "chunk",
  hidden_size: WIDTH,
  hidden_ratio: 4,
  intermediate_size: 128,
  num_hidden_layers: LAYERS,
  head_dim: HEAD,
  num_heads: WIDTH / HEAD,
  decay_low_rank_dim: 8,
  a_low_rank_dim: 8,
  v_low_rank_dim: 6,
  gate_low_rank_dim: 12,
  hidden_act: "sqrelu",
  norm_first: true,
  norm_bias: true,
  // fla's norm of the heads has head_dim times this; the author's 64e-5 stands for heads of any size.
  norm_eps: 4e-5,
  fuse_norm: false,
  tie_word_embeddings: false,
  value_dim: [WIDTH, WIDTH, WIDTH],
  vocab_size: 96,
};

/** fla's names for what the author calls `blocks.i.…`. Source: fla, utils/convert_from_rwkv7.py. */
const FLA_NAMES: readonly (readonly [RegExp, string])[] = [
  [/^emb\./, "model.embeddings."],
  [/^ln_out\./, "model.norm."],
  [/^head\./, "lm_head."],
  [/^blocks\./, "model.layers."],
  [/\.att\./, ".attn."],
  [/\.ln0\./, ".pre_norm."],
  [/\.ln1\./, ".attn_norm."],
  [/\.ln2\./, ".ffn_norm."],
  [/attn\.receptance/, "attn.r_proj"],
  [/attn\.key/, "attn.k_proj"],
  [/attn\.value/, "attn.v_proj"],
  [/attn\.output/, "attn.o_proj"],
  [/attn\.ln_x/, "attn.g_norm"],
  [/attn\.([wavg])0$/, "attn.$1_lora.lora.2.bias"],
  [/attn\.([wavg])1$/, "attn.$1_lora.lora.0.weight"],
  [/attn\.([wavg])2$/, "attn.$1_lora.lora.2.weight"],
];

/**
 * The residual stream of this model is twice the golden one: LN(2 x) with ε = 4e-5 is LN(x) with 1e-5, to the bit, and
 * what reads the stream is a norm everywhere.
 */
const DOUBLED = /embeddings|pre_norm|o_proj|ffn\.value/;

function flaTensors(): Map<string, TestTensor> {
  const tensors = new Map<string, TestTensor>();
  for (const [name, tensor] of author) {
    if (/^blocks\.0\.att\.v\d$/.test(name)) continue;
    const renamed = FLA_NAMES.reduce((text, [from, to]) => text.replace(from, to), name);
    const { shape, values } = /att\.[wavg][12]$/.test(name) ? transposed(tensor) : tensor;
    tensors.set(renamed, {
      shape: renamed.includes("attn.x_") ? shape : shape.filter((side) => side !== 1),
      values: DOUBLED.test(renamed) ? values.map((value) => 2 * value) : values,
    });
  }
  return tensors;
}

/** The first release kept the six mixtures in one tensor. */
function withFusedMixtures(tensors: Map<string, TestTensor>): Map<string, TestTensor> {
  for (let i = 0; i < LAYERS; i++) {
    const at = `model.layers.${i}.attn.x_`;
    const rows = MIXTURES.map((of) => tensors.get(at + of)?.values ?? new Float32Array());
    for (const of of MIXTURES) tensors.delete(at + of);
    tensors.set(`${at}x`, { shape: [6, WIDTH], values: concat(rows) });
  }
  return tensors;
}

/** Each head's values twice, and each of them counting half: the same model with a value_dim of twice its width. */
function withDoubleValues(tensors: Map<string, TestTensor>): Map<string, TestTensor> {
  const twice = (values: Float32Array, width: number): Float32Array => {
    const size = HEAD * width;
    const heads = Array.from({ length: values.length / size }, (_, head) =>
      values.slice(head * size, (head + 1) * size),
    );
    return concat(heads.flatMap((head) => [head, head]));
  };
  for (const [name, { shape, values }] of tensors) {
    const [rows = 0, width = 1] = shape;
    if (/v_proj|[vg]_lora\.lora\.2|g_norm/.test(name))
      tensors.set(name, { shape: [2 * rows, ...shape.slice(1)], values: twice(values, width) });
    if (name.includes("o_proj")) {
      const columns = transposed({ shape, values: values.map((value) => value / 2) });
      tensors.set(
        name,
        transposed({ shape: [2 * WIDTH, WIDTH], values: twice(columns.values, WIDTH) }),
      );
    }
  }
  return tensors;
}

function concat(arrays: readonly Float32Array[]): Float32Array {
  return Float32Array.from(arrays.flatMap((array) => [...array]));
}

function flaModel(
  config: object,
  tensors: ReadonlyMap<string, TestTensor>,
): readonly RandomAccessFile[] {
  const json = new TextEncoder().encode(JSON.stringify({ ...FLA_CONFIG, ...config }));
  return [memoryFile("config.json", json), safetensorsFile(tensors)];
}

/** llama.cpp's names. Source: llama.cpp, src/llama-arch.cpp and conversion/rwkv.py. */
const GGUF_NAMES: readonly (readonly [RegExp, string])[] = [
  [/^emb\./, "token_embd."],
  [/^blocks\.0\.ln0\./, "token_embd_norm."],
  [/^ln_out\./, "output_norm."],
  [/^head\./, "output."],
  [/^blocks\./, "blk."],
  [/\.ln1\./, ".attn_norm."],
  [/\.ln2\./, ".attn_norm_2."],
  [/\.att\.ln_x\./, ".time_mix_ln."],
  [/\.att\.(receptance|key|value|output)\./, ".time_mix_$1."],
  [/\.att\.(\w+)$/, ".time_mix_$1.weight"],
  [/\.ffn\.x_k$/, ".channel_mix_lerp_k.weight"],
  [/\.ffn\.(key|value)\./, ".channel_mix_$1."],
];

const GGUF_FIELDS = {
  context_length: 1048576,
  embedding_length: WIDTH,
  block_count: LAYERS,
  feed_forward_length: 128,
  "attention.head_count": 0,
  "wkv.head_size": HEAD,
  "attention.decay_lora_rank": 8,
  "attention.iclr_lora_rank": 8,
  "attention.value_residual_mix_lora_rank": 6,
  "attention.gate_lora_rank": 12,
};

function ggufTensors(): Map<string, TestTensor> {
  const tensors = new Map<string, TestTensor>();
  for (const [name, tensor] of author) {
    if (name.includes(".att.x_")) continue;
    const { shape, values } = /att\.[wavg][12]$/.test(name) ? transposed(tensor) : tensor;
    tensors.set(
      GGUF_NAMES.reduce((text, [from, to]) => text.replace(from, to), name),
      {
        shape: name.endsWith("r_k") ? [WIDTH] : shape.filter((side) => side !== 1),
        values,
      },
    );
  }
  for (let i = 0; i < LAYERS; i++) {
    const rows = MIXTURES.map(
      (of) => author.get(`blocks.${i}.att.x_${of}`)?.values ?? new Float32Array(),
    );
    tensors.set(`blk.${i}.time_mix_lerp_fused.weight`, {
      shape: [6, 1, 1, WIDTH],
      values: concat(rows),
    });
  }
  return tensors;
}

async function ggufModel(): Promise<readonly RandomAccessFile[]> {
  const entries: GgufEntries = [
    ["general.architecture", { type: "string", value: "rwkv7" }],
    ["rwkv7.attention.layer_norm_epsilon", { type: "f32", value: 1e-5 }],
    ...Object.entries(GGUF_FIELDS).map(
      ([key, value]) => [`rwkv7.${key}`, { type: "u32", value }] as const,
    ),
  ];
  const tensors = [...ggufTensors()].map(([name, { shape, values }]) => ({
    name,
    dtype: "f32" as const,
    shape,
    async *pieces() {
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    },
  }));
  const bytes: number[] = [];
  for await (const piece of ggufBytes(entries, tensors)) bytes.push(...piece);
  return [memoryFile("rwkv7.gguf", Uint8Array.from(bytes))];
}

/** @returns the largest difference of a logit */
async function expectGolden(
  backend: Backend,
  files: readonly RandomAccessFile[],
  { states }: { readonly states: boolean },
): Promise<number> {
  const model = await loadTestModel(backend, files);
  let furthest = 0;
  // The software GPU is slow, and what it does with a weight does not depend on the weight's name.
  const prompts = backend.name === "webgpu" ? ["p0"] : ["p0", "p1"];
  for (const prompt of prompts) {
    const state = model.createState(1);
    const ids = golden.i32(`${prompt}.input_ids`);
    const logits = await model.run(state, [ids], { phase: "prefill", logits: "all" });
    const expected = golden.f32(`${prompt}.logits`).values;
    expectAllClose(logits, expected, LOGITS, "logits");
    logits.forEach((value, i) => {
      furthest = Math.max(furthest, Math.abs(value - (expected[i] ?? NaN)));
    });
    if (states) {
      const { modelType, layout } = model.model;
      expectGoldenStates(modelType, layout, await backend.readState(state, 0), golden, prompt);
    }
    const chosen = [argmax(logits.subarray(-model.model.vocabSize))];
    while (chosen.length < 16) {
      const next = await model.run(state, [chosen.slice(-1)], { phase: "decode", logits: "last" });
      chosen.push(argmax(next));
    }
    expect(chosen).toEqual([...golden.i32(`${prompt}.greedy`)]);
    state.release();
  }
  model.release();
  return furthest;
}

forEachBackend("RWKV-7 in other layouts", (backend, backendName) => {
  test("reads fla's files as the golden model", async () => {
    await expectGolden(backend(), flaModel({}, flaTensors()), { states: true });
  });

  test("reads fla's files with fused mixtures and a head size that follows from the heads", async () => {
    const config = { head_dim: null, fuse_norm: true };
    const files = flaModel(config, withFusedMixtures(flaTensors()));
    await expectGolden(backend(), files, { states: true });
  });

  test("reads fla's files with wider values", async () => {
    const files = flaModel({ value_dim: 2 * WIDTH }, withDoubleValues(flaTensors()));
    await expectGolden(backend(), files, { states: false });
  });

  test("reads llama.cpp's files as the golden model", async () => {
    const place = { modelType: "rwkv7", folder: "rwkv7", format: "GGUF" } as const;
    const furthest = await expectGolden(backend(), await ggufModel(), { states: true });
    recordDifference({ ...place, backend: backendName, prompt: "all" }, furthest);
  });
});

describe("RWKV-7's configurations", () => {
  test.each([
    { field: "attn", value: { layers: [1], num_heads: 2 } },
    { field: "hidden_act", value: "logsigmoid" },
    { field: "value_dim", value: [48, 96, 48] },
  ])("refuses $field: $value", ({ field, value }) => {
    expect(() => rwkv7.fromConfig({ ...FLA_CONFIG, [field]: value })).toThrow(
      expect.objectContaining({ name: "WeightsError", code: "unsupported" }),
    );
  });

  test.each([
    { field: "head_dim", value: 20 },
    { field: "value_dim", value: [48, 48] },
    { field: "value_dim", value: 50 },
  ])("refuses $field: $value, which does not fit the rest", ({ field, value }) => {
    expect(() => rwkv7.fromConfig({ ...FLA_CONFIG, [field]: value })).toThrow(WeightsError);
  });

  test("computes what fla's configuration leaves out", () => {
    const { layout, gguf } = rwkv7.fromConfig({
      model_type: "rwkv7",
      hidden_size: 768,
      num_hidden_layers: 1,
      decay_low_rank_dim: null,
      a_low_rank_dim: null,
      v_low_rank_dim: null,
      gate_low_rank_dim: null,
    });
    expect(layout.map(({ shape }) => shape)).toEqual([[768], [12, 64, 64], [768]]);
    // 2.5, 1.7 and 5 times √768 = 27.7 in whole 32s.
    expect(gguf?.fields).toMatchObject({
      feed_forward_length: 3072,
      "attention.decay_lora_rank": 64,
      "attention.iclr_lora_rank": 64,
      "attention.value_residual_mix_lora_rank": 32,
      "attention.gate_lora_rank": 128,
    });
  });

  test("has no description for llama.cpp where its head norm is another", () => {
    expect(rwkv7.fromConfig(FLA_CONFIG).gguf).toBeDefined();
    expect(rwkv7.fromConfig({ ...FLA_CONFIG, norm_eps: 1e-5 }).gguf).toBeUndefined();
  });
});
