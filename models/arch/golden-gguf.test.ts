/**
 * Every model of e2e/fixtures/models that llama.cpp has an architecture for, written as GGUF and read again, against the
 * outputs of the original. Other people's GGUF files are judged elsewhere; this says that nothing is lost on the way.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { expectAllClose, furthest } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { openConversion } from "../convert/convert.ts";
import { ConversionError } from "../convert/errors.ts";
import { ggufBytes } from "../convert/gguf-writer.ts";
import { goldenFolders, type GoldenFolder } from "../testing/golden-folders.ts";
import { recordDifference } from "../testing/support.ts";
import { argmax, LOADING_MS, loadTestModel, type TestModel } from "../testing/test-model.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

const PREFILL = { phase: "prefill", logits: "all" } as const;
const DECODE = { phase: "decode", logits: "last" } as const;
/** Tokens that are decoded after each prompt. */
const DECODED = 4;

/**
 * The folder's model as a GGUF file of f32.
 * @throws ConversionError where llama.cpp has no such model
 */
async function asGguf(folder: GoldenFolder): Promise<RandomAccessFile> {
  const { entries, tensors, close } = await openConversion(folder.files(), folder.name, "F32");
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufBytes(entries, tensors)) pieces.push(piece.slice());
  await close();
  return memoryFile(`${folder.name}.gguf`, Buffer.concat(pieces));
}

const folders = goldenFolders();
const files = await Promise.allSettled(folders.map(asGguf));
const converted = folders
  .map((folder, index) => ({ folder, name: folder.name, file: files[index] }))
  .filter(({ file }) => file?.status === "fulfilled" || !(file?.reason instanceof ConversionError));

forEachBackend("golden models as GGUF", (backend, backendName) => {
  describe.each(converted)("$name", ({ folder, file }) => {
    const golden = folder.golden();
    let model: TestModel;
    beforeAll(async () => {
      if (file?.status !== "fulfilled") throw file?.reason;
      model = await loadTestModel(backend(), [file.value]);
      return () => model.release();
    }, LOADING_MS);

    test.each(folder.prompts)("reads %s as the original does, and goes on", async (prompt) => {
      const { vocabSize, modelType } = model.model;
      const state = model.createState(1);
      const logits = await model.run(state, [golden.i32(`${prompt}.input_ids`)], PREFILL);
      const expected = golden.f32(`${prompt}.logits`).values;
      expectAllClose(logits, expected, LOGITS, "logits");

      const greedy = [...golden.i32(`${prompt}.greedy`)];
      expect(argmax(logits.subarray(-vocabSize))).toBe(greedy[0]);
      const next = greedy.slice(0, DECODED);
      const decoded = await model.run(state, [next], { ...DECODE, chunk: 1 });
      const expectedDecoded = golden
        .f32(`${prompt}.decode_logits`)
        .values.subarray(0, decoded.length);
      expectAllClose(decoded, expectedDecoded, LOGITS, "decode_logits");
      recordDifference(
        { modelType, folder: folder.name, format: "GGUF", backend: backendName, prompt },
        Math.max(furthest(logits, expected), furthest(decoded, expectedDecoded)),
      );
      state.release();
    });
  });
});
