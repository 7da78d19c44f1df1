import { expect, test } from "vitest";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { describeModel } from "../arch/registry.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { openModel } from "../weights/open-model.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import { fixtureModel, loadTestModel } from "../testing/test-model.ts";
import { planConversion, type Quantisation } from "./convert.ts";
import { ggufBytes } from "./gguf-writer.ts";

async function converted(folder: string, quantisation: Quantisation): Promise<RandomAccessFile> {
  const opened = await openModel(fixtureModel(folder));
  const model = describeModel(opened.config, opened.tensors);
  const { entries, tensors } = await planConversion(folder, model, opened.tensors, quantisation);
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
  return memoryFile(`${folder}.gguf`, Buffer.concat(pieces));
}

test.each([
  "mamba",
  "mamba2",
  "falcon_mamba",
  "jamba",
  "lfm2",
  "lfm2_moe",
  "bamba",
  "granitemoehybrid",
  "qwen3_next",
  "qwen3_5_text",
  "kimi_linear",
  "rwkv7",
])("%s runs from its GGUF file as from its own", async (folder) => {
  const golden = loadGolden(`models/${folder}/golden.safetensors`);
  const model = await loadTestModel(createReferenceBackend(), [await converted(folder, "F32")]);
  const logits = await model.run(model.createState(1), [golden.i32("p0.input_ids")], {
    phase: "prefill",
    logits: "all",
  });
  expectAllClose(logits, golden.f32("p0.logits").values, LOGITS, "logits");
});

test("matrices become what was asked for, where their rows are whole blocks", async () => {
  const opened = await openModel([await converted("mamba2", "Q8_0")]);
  expect(opened.tensors.info("token_embd.weight").dtype).toBe("f16");
  expect(opened.tensors.info("blk.0.ssm_out.weight")).toMatchObject({
    dtype: "q8_0",
    shape: [48, 96],
  });
  expect(opened.tensors.info("blk.0.ssm_d")).toMatchObject({ dtype: "f32", shape: [4, 1] });
});

test("what llama.cpp asks for beside the weights is there, in the shapes that it wants", async () => {
  const { tensors } = await openModel([await converted("rwkv7", "F16")]);
  for (const of of [0, 1, 2]) {
    const original = tensors.info(`blk.0.time_mix_a${of}.weight`);
    expect(tensors.info(`blk.0.time_mix_v${of}.weight`).shape).toEqual(original.shape);
  }
  expect(tensors.info("blk.2.time_mix_lerp_fused.weight").shape).toEqual([6, 1, 1, 48]);
});

test("a model that llama.cpp cannot run is refused by its name", async () => {
  await expect(converted("mamba2_flags", "F32")).rejects.toThrow(
    'llama.cpp runs no "mamba2" model with this configuration',
  );
});

test("the vocabulary's size is said, as there may be no tokenizer", async () => {
  const { config } = await openModel([await converted("bamba", "F32")]);
  if (config.format !== "gguf") throw new Error("not a GGUF file");
  expect(config.metadata.get("granitehybrid.vocab_size")).toBe(112);
});
