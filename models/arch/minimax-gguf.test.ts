/**
 * MiniMax as llama.cpp's GGUF files have it: one residual factor, no factor for outputs, no stored decays. The golden model
 * has other factors, but every sum is normed right away, so that only their ratio counts, up to the norms' eps; and that can
 * be moved into the output matrices.
 */
import { expect, test } from "vitest";
import { expectAllClose, furthest } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { fixtureBytes, loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { ggufBytes, type GgufEntries, type GgufTensor } from "../convert/gguf-writer.ts";
import { readTensors, type TestTensor } from "../testing/stored-tensors.ts";
import { recordDifference } from "../testing/support.ts";
import { loadTestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

const LINEAR = [1, 2];
const N_LAYER = 4;
const N_EXPERT = 4;
/** beta / alpha of the golden model's sums. */
const RATIO = { full: 0.8 / 1.2, linear: 0.9 / 1.1, experts: 1.05 / 0.95 };

const ENTRIES: GgufEntries = [
  ["general.architecture", { type: "string", value: "minimax-01" }],
  ["minimax-01.vocab_size", { type: "u32", value: 112 }],
  ["minimax-01.context_length", { type: "u32", value: 1024 }],
  ["minimax-01.block_count", { type: "u32", value: N_LAYER }],
  ["minimax-01.embedding_length", { type: "u32", value: 48 }],
  ["minimax-01.feed_forward_length", { type: "u32", value: 28 }],
  ["minimax-01.attention.head_count", { type: "u32", value: 4 }],
  ["minimax-01.attention.head_count_kv", { type: "u32", value: 2 }],
  ["minimax-01.attention.key_length", { type: "u32", value: 12 }],
  ["minimax-01.attention.value_length", { type: "u32", value: 12 }],
  ["minimax-01.attention.layer_norm_rms_epsilon", { type: "f32", value: 1e-5 }],
  ["minimax-01.attention.recurrent_layers", { type: "u32[]", value: [0, 1, 1, 0] }],
  ["minimax-01.rope.freq_base", { type: "f32", value: 1e6 }],
  ["minimax-01.rope.dimension_count", { type: "u32", value: 12 }],
  ["minimax-01.residual_scale", { type: "f32", value: 1 }],
  ["minimax-01.expert_count", { type: "u32", value: N_EXPERT }],
  ["minimax-01.expert_used_count", { type: "u32", value: 2 }],
];

function scaled({ shape, values }: TestTensor, factor: number): TestTensor {
  return { shape, values: values.map((value) => value * factor) };
}

function renamed(stored: ReadonlyMap<string, TestTensor>): Map<string, TestTensor> {
  const given = (name: string): TestTensor => {
    const tensor = stored.get(name);
    if (tensor === undefined) throw new Error(`the fixture has no "${name}"`);
    return tensor;
  };
  const experts = (at: string, matrix: string): TestTensor => {
    const each = Array.from({ length: N_EXPERT }, (_, i) =>
      given(`${at}block_sparse_moe.experts.${i}.${matrix}.weight`),
    );
    return {
      shape: [N_EXPERT, ...(each[0]?.shape ?? [])],
      values: Float32Array.from(each.flatMap(({ values }) => [...values])),
    };
  };
  const out = new Map([
    ["token_embd.weight", given("model.embed_tokens.weight")],
    ["output_norm.weight", given("model.norm.weight")],
    ["output.weight", given("lm_head.weight")],
  ]);
  for (let i = 0; i < N_LAYER; i++) {
    const [at, to] = [`model.layers.${i}.`, `blk.${i}.`];
    out.set(`${to}attn_norm.weight`, given(`${at}input_layernorm.weight`));
    out.set(`${to}ffn_norm.weight`, given(`${at}post_attention_layernorm.weight`));
    out.set(`${to}ffn_gate_inp.weight`, given(`${at}block_sparse_moe.gate.weight`));
    out.set(`${to}ffn_gate_exps.weight`, experts(at, "w1"));
    out.set(`${to}ffn_up_exps.weight`, experts(at, "w3"));
    out.set(`${to}ffn_down_exps.weight`, scaled(experts(at, "w2"), RATIO.experts));
    const mixer = `${at}self_attn.`;
    if (LINEAR.includes(i)) {
      out.set(`${to}attn_qkv.weight`, given(`${mixer}qkv_proj.weight`));
      out.set(`${to}attn_gate.weight`, given(`${mixer}output_gate.weight`));
      out.set(`${to}attn_norm_2.weight`, given(`${mixer}norm.weight`));
      out.set(`${to}attn_output.weight`, scaled(given(`${mixer}out_proj.weight`), RATIO.linear));
    } else {
      for (const name of ["q", "k", "v"])
        out.set(`${to}attn_${name}.weight`, given(`${mixer}${name}_proj.weight`));
      out.set(`${to}attn_output.weight`, scaled(given(`${mixer}o_proj.weight`), RATIO.full));
    }
  }
  return out;
}

async function file(): Promise<RandomAccessFile> {
  const stored = readTensors(fixtureBytes("models/minimax/model.safetensors"));
  const tensors = [...renamed(stored)].map(([name, { shape, values }]): GgufTensor => ({
    name,
    dtype: "f32",
    shape,
    async *pieces() {
      yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    },
  }));
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufBytes(ENTRIES, tensors)) pieces.push(piece.slice());
  return memoryFile("model.gguf", Buffer.concat(pieces));
}

forEachBackend("MiniMax from GGUF", (backend, backendName) => {
  test("gives the golden logits", async () => {
    const model = await loadTestModel(backend(), [await file()]);
    const { modelType } = model.model;
    expect(modelType).toBe("minimax");
    const golden = loadGolden("models/minimax/golden.safetensors");
    const state = model.createState(1);
    const logits = await model.run(state, [golden.i32("p0.input_ids")], {
      phase: "prefill",
      logits: "all",
    });
    const expected = golden.f32("p0.logits").values;
    expectAllClose(logits, expected, LOGITS, "logits");
    recordDifference(
      { modelType, folder: "minimax", format: "GGUF", backend: backendName, prompt: "p0" },
      furthest(logits, expected),
    );
    state.release();
    model.release();
  });
});
