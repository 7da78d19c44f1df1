/**
 * Gated DeltaNet models in the other forms in which they are published: golden models' tensors, renamed and rearranged here,
 * give the golden outputs.
 */
import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import type { Backend } from "../../kernels/spec/backend.ts";
import { recordPlan } from "../../kernels/plan/recorder.ts";
import { expectAllClose, furthest } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureBytes, fixtureText, loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { openConversion } from "../convert/convert.ts";
import { ggufBytes, type GgufTensor } from "../convert/gguf-writer.ts";
import { asGguf } from "../testing/as-gguf.ts";
import { readTensors, safetensorsFile, type TestTensor } from "../testing/stored-tensors.ts";
import { recordDifference } from "../testing/support.ts";
import { fixtureModel, loadTestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { openModel } from "../weights/open-model.ts";
import type { JsonObject } from "../weights/json.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import { describeModel } from "./registry.ts";
import { checkingLoader } from "./weight-loader.ts";

type Tensors = Map<string, TestTensor>;

function fixture(folder: string): { config: JsonObject; tensors: Tensors } {
  return {
    config: JSON.parse(fixtureText(`models/${folder}/config.json`)) as JsonObject,
    tensors: readTensors(fixtureBytes(`models/${folder}/model.safetensors`)),
  };
}

function files(config: JsonObject, tensors: Tensors): RandomAccessFile[] {
  return [
    memoryFile("config.json", new TextEncoder().encode(JSON.stringify(config))),
    safetensorsFile(tensors),
  ];
}

/** Fails unless the files give the golden logits of `folder`; how far they are off. */
async function expectGolden(
  folder: string,
  given: readonly RandomAccessFile[],
  backend: Backend = createReferenceBackend(),
): Promise<number> {
  const golden = loadGolden(`models/${folder}/golden.safetensors`);
  const model = await loadTestModel(backend, given);
  const state = model.createState(1);
  const logits = await model.run(state, [golden.i32("p0.input_ids")], {
    phase: "prefill",
    logits: "all",
  });
  const expected = golden.f32("p0.logits").values;
  expectAllClose(logits, expected, LOGITS, "logits");
  state.release();
  model.release();
  return furthest(logits, expected);
}

/** The folder as a GGUF file of today, some of whose tensors are replaced by the folder's own. */
async function firstGguf(
  folder: string,
  replace: (name: string) => "kept" | "dropped" | { readonly name: string; readonly from: string },
): Promise<RandomAccessFile> {
  const { tensors: own } = fixture(folder);
  const { entries, tensors } = await openConversion(fixtureModel(folder), folder, "F32");
  const old = tensors.flatMap((given): GgufTensor[] => {
    const by = replace(given.name);
    if (by === "dropped") return [];
    if (by === "kept") return [given];
    const { shape, values } = tensor(own, by.from);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return [
      {
        name: by.name,
        dtype: "f32",
        shape,
        async *pieces() {
          yield bytes;
        },
      },
    ];
  });
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufBytes(entries, old)) pieces.push(piece.slice());
  return memoryFile(`${folder}.gguf`, Buffer.concat(pieces));
}

function renamed(tensors: Tensors, name: (old: string) => string): Tensors {
  return new Map([...tensors].map(([old, tensor]) => [name(old), tensor]));
}

/** Rows of a matrix: row `i` of the result is row `from[i]`. */
function rowsOf({ shape, values }: TestTensor, from: readonly number[]): TestTensor {
  const cols = values.length / (shape[0] ?? 1);
  return {
    shape: [from.length, ...shape.slice(1)],
    values: Float32Array.from(
      from.flatMap((row) => [...values.subarray(row * cols, (row + 1) * cols)]),
    ),
  };
}

function joined(parts: readonly TestTensor[]): TestTensor {
  return {
    shape: [
      parts.reduce((sum, { shape }) => sum + (shape[0] ?? 0), 0),
      ...(parts[0]?.shape.slice(1) ?? []),
    ],
    values: Float32Array.from(parts.flatMap(({ values }) => [...values])),
  };
}

function tensor(tensors: Tensors, name: string): TestTensor {
  const found = tensors.get(name);
  if (found === undefined) throw new Error(`the fixture has no ${name}`);
  return found;
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** The fixtures' dimensions: two key heads, each with two value heads, all of 12 columns. */
const HEAD = 12;
const KEY_HEADS = [0, 1];
/** Rows of one key head in `in_proj_qkvz`: q, k, two v, two z. */
const INTERLEAVED = 6 * HEAD;

/** `in_proj_qkvz` and `in_proj_ba` of Qwen3-Next as the four projections of Qwen3.5. */
function separated(tensors: Tensors): Tensors {
  const out: Tensors = new Map();
  for (const [name, value] of tensors) {
    const at = name.replace(/in_proj_.*/, "");
    const rows = (first: number, count: number): number[] =>
      KEY_HEADS.flatMap((head) => range(head * INTERLEAVED + first, count));
    if (name.endsWith("in_proj_qkvz.weight")) {
      const qkv = [...rows(0, HEAD), ...rows(HEAD, HEAD), ...rows(2 * HEAD, 2 * HEAD)];
      out.set(`${at}in_proj_qkv.weight`, rowsOf(value, qkv));
      out.set(`${at}in_proj_z.weight`, rowsOf(value, rows(4 * HEAD, 2 * HEAD)));
    } else if (name.endsWith("in_proj_ba.weight")) {
      out.set(`${at}in_proj_b.weight`, rowsOf(value, [0, 1, 4, 5]));
      out.set(`${at}in_proj_a.weight`, rowsOf(value, [2, 3, 6, 7]));
    } else out.set(name, value);
  }
  return out;
}

/** The experts of each layer in two tensors, as the library has them in memory and Qwen3.5 in its files. */
function fused(tensors: Tensors, nExpert: number): Tensors {
  const out: Tensors = new Map([...tensors].filter(([name]) => !name.includes(".experts.")));
  for (const layer of [0, 1, 2, 3]) {
    const at = `model.layers.${layer}.mlp.experts.`;
    const expert = (i: number, matrix: string): TestTensor =>
      tensor(tensors, `${at}${i}.${matrix}_proj.weight`);
    const stack = (parts: readonly TestTensor[]): TestTensor => {
      const { shape, values } = joined(parts);
      return { shape: [nExpert, (shape[0] ?? 0) / nExpert, shape[1] ?? 0], values };
    };
    const experts = range(0, nExpert);
    out.set(
      `${at}gate_up_proj`,
      stack(experts.flatMap((i) => [expert(i, "gate"), expert(i, "up")])),
    );
    out.set(`${at}down_proj`, stack(experts.map((i) => expert(i, "down"))));
  }
  return out;
}

describe("Qwen3.5", () => {
  test("within a model that also sees", async () => {
    const { config, tensors } = fixture("qwen3_5_text");
    const nested = { model_type: "qwen3_5", text_config: config, tie_word_embeddings: false };
    const inner = renamed(tensors, (name) => name.replace(/^model\./, "model.language_model."));
    await expectGolden("qwen3_5_text", files(nested, inner));
  });

  test("ties the head where the decoder's fields or those around them say so", async () => {
    const { config, tensors } = fixture("qwen3_5_text");
    tensors.delete("lm_head.weight");
    for (const given of [
      { ...config, tie_word_embeddings: true },
      { model_type: "qwen3_5", text_config: { ...config, tie_word_embeddings: true } },
      { model_type: "qwen3_5", text_config: config, tie_word_embeddings: true },
    ]) {
      const opened = await openModel(files(given, tensors));
      const model = describeModel(opened.config, opened.tensors);
      await model.load(checkingLoader(opened.tensors, { quantise: null }));
    }
  });
});

forEachBackend("Qwen3.5 with experts", (backend, backendName) => {
  test("is Qwen3-Next but for its projections, as GGUF too", async () => {
    const { config, tensors } = fixture("qwen3_next");
    const modelType = "qwen3_5_moe_text";
    const given = files({ ...config, model_type: modelType }, fused(separated(tensors), 4));
    const place = { modelType, folder: "qwen3_5_moe", backend: backendName, prompt: "p0" };
    recordDifference(
      { ...place, format: "safetensors" },
      await expectGolden("qwen3_next", given, backend()),
    );
    recordDifference(
      { ...place, format: "GGUF" },
      await expectGolden("qwen3_next", [await asGguf(given, modelType)], backend()),
    );
  });
});

describe("Qwen3-Next", () => {
  test("with its experts in two tensors", async () => {
    const { config, tensors } = fixture("qwen3_next");
    await expectGolden("qwen3_next", files(config, fused(tensors, 4)));
  });

  test("without experts is Qwen3.5 but for its projections", async () => {
    const { config, tensors } = fixture("qwen3_5_text");
    const out: Tensors = new Map();
    for (const [name, value] of tensors) {
      const at = name.replace(/in_proj_.*/, "");
      if (!name.includes("in_proj_")) out.set(name, value);
      if (!name.endsWith("in_proj_qkv.weight")) continue;
      const z = tensor(tensors, `${at}in_proj_z.weight`);
      const qkvz = KEY_HEADS.flatMap((head) => [
        rowsOf(value, range(head * HEAD, HEAD)),
        rowsOf(value, range((2 + head) * HEAD, HEAD)),
        rowsOf(value, range((4 + 2 * head) * HEAD, 2 * HEAD)),
        rowsOf(z, range(2 * head * HEAD, 2 * HEAD)),
      ]);
      const ba = KEY_HEADS.flatMap((head) =>
        ["b", "a"].map((part) =>
          rowsOf(tensor(tensors, `${at}in_proj_${part}.weight`), range(2 * head, 2)),
        ),
      );
      out.set(`${at}in_proj_qkvz.weight`, joined(qkvz));
      out.set(`${at}in_proj_ba.weight`, joined(ba));
    }
    const dense = { ...config, model_type: "qwen3_next" };
    await expectGolden("qwen3_5_text", files({ ...dense, num_experts: 0 }, out));
    await expectGolden("qwen3_5_text", files({ ...dense, mlp_only_layers: [0, 1, 2, 3] }, out));
    await expectGolden("qwen3_5_text", files({ ...dense, decoder_sparse_step: 9 }, out));
  });

  test("in llama.cpp's first files, which kept the projections interleaved", async () => {
    const file = await firstGguf("qwen3_next", (name) => {
      if (name.endsWith("attn_gate.weight")) return "dropped";
      const layer = /^blk\.(\d)\.attn_qkv\.weight$/.exec(name)?.[1];
      if (layer === undefined) return "kept";
      const from = `model.layers.${layer}.linear_attn.in_proj_qkvz.weight`;
      return { name: `blk.${layer}.ssm_in.weight`, from };
    });
    await expectGolden("qwen3_next", [file]);
  });
});

describe("OLMo Hybrid", () => {
  test("by the library's own names, its convolutions in one tensor", async () => {
    const { config, tensors } = fixture("olmo_hybrid");
    const own: Tensors = new Map();
    for (const [name, value] of tensors) {
      if (name.includes("_conv1d.")) {
        const at = name.replace(/[qkv]_conv1d.*/, "");
        const parts = ["q", "k", "v"].map((part) => tensor(tensors, `${at}${part}_conv1d.weight`));
        own.set(`${at}conv1d.weight`, joined(parts));
        continue;
      }
      const renamedTo = name
        .replace("attention_layer_norm", "input_layernorm")
        .replace("feedforward_layer_norm", "post_attention_layernorm");
      own.set(renamedTo, value);
    }
    await expectGolden("olmo_hybrid", files(config, own));
  });

  test.each([
    { rope: { rope_theta: null, rope_parameters: null }, positions: false },
    { rope: { rope_parameters: { rope_theta: null, rope_type: "default" } }, positions: false },
    { rope: { rope_parameters: null }, positions: true },
  ])("has positions unless rope_theta is there and null: $rope", async ({ rope, positions }) => {
    const { config, tensors } = fixture("olmo_hybrid");
    const opened = await openModel(files({ ...config, ...rope }, tensors));
    const model = describeModel(opened.config, opened.tensors);
    const record = await model.load(checkingLoader(opened.tensors, { quantise: null }));
    const plan = recordPlan({ batch: 1, length: 2 }, model.layout, (k) =>
      record(k, { logits: "none", phase: "prefill" }),
    );
    expect(plan.calls.some(({ op }) => op === "rope")).toBe(positions);
  });
});

describe("Kimi Linear", () => {
  test("as its authors publish it", async () => {
    const { config, tensors } = fixture("kimi_linear");
    const published: JsonObject = {
      ...config,
      linear_attn_config: {
        full_attn_layers: [4],
        kda_layers: [1, 2, 3],
        head_dim: 12,
        num_heads: 4,
        short_conv_kernel_size: 4,
      },
      first_k_dense_replace: 1,
      layer_types: null,
      mlp_layer_types: null,
      linear_head_dim: null,
      linear_num_heads: null,
      linear_conv_kernel_dim: null,
    };
    // Its first layer has an MLP under the name of one.
    const named = renamed(tensors, (name) =>
      name.replace("layers.0.block_sparse_moe.", "layers.0.mlp."),
    );
    await expectGolden("kimi_linear", files(published, named));
  });

  test("in llama.cpp's first files, which kept keys and values of latent attention together", async () => {
    const file = await firstGguf("kimi_linear", (name) => {
      if (name.endsWith("attn_v_b.weight")) return "dropped";
      if (!name.endsWith("attn_k_b.weight")) return "kept";
      return { name: "blk.3.attn_kv_b.weight", from: "model.layers.3.self_attn.kv_b_proj.weight" };
    });
    await expectGolden("kimi_linear", [file]);
  });

  test("refuses key heads in another number than heads", async () => {
    const { config, tensors } = fixture("kimi_linear");
    const opened = await openModel(files({ ...config, num_key_value_heads: 2 }, tensors));
    expect(() => describeModel(opened.config, opened.tensors)).toThrow(/num_key_value_heads/);
  });
});
