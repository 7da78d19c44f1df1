/**
 * Golden models with their matrices rounded to f16, as most models are stored. On devices with matrix units prompts then go
 * through other products (linear-matrix.wgsl) than the f32 weights of the golden models do, whose files judge both.
 */
import { expect, test } from "vitest";
import type { Backend } from "../../kernels/spec/backend.ts";
import { expectAllClose, type Tolerance } from "../../kernels/testing/all-close.ts";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { goldenFolders } from "../testing/golden-folders.ts";
import {
  argmax,
  LOADING_MS,
  loadTestModel,
  type TestModel,
  type UploadTestWeight,
} from "../testing/test-model.ts";
import { f32ToF16 } from "../weights/f16.ts";

/** One for each kind of recurrence that linear products lead into and out of. */
const FOLDERS: readonly string[] = ["jamba", "mamba", "mamba2", "qwen3_5_text", "rwkv7"];

/** Standard deviation of the golden models' logits. */
const LOGITS_DEVIATION = 2;

/**
 * Rounding to f16 moves a weight by up to 2⁻¹¹ of itself, and x, where it is one f16, as much: each product is off by up to
 * √2 · 2⁻¹¹ of what it gives, if the errors of its many terms are independent. Those of `products` matrices one behind the
 * other add up like a random walk. Of some ten thousand logits the worst lies at 4 to 5 standard deviations, and norms and
 * gates may double what comes in. Wrong places in a tile are off by the logits' own size.
 */
function f16Tolerance(products: number): Tolerance {
  const each = Math.SQRT2 * 2 ** -11 * LOGITS_DEVIATION;
  return { absolute: 5 * 2 * each * Math.sqrt(products), relative: 0 };
}

forEachBackend("golden models with f16 matrices", (backend) => {
  test.each(goldenFolders().filter(({ name }) => FOLDERS.includes(name)))(
    "$name reads its prompts as its producer did, but for the rounding",
    async (folder) => {
      const counted = { matrices: 0 };
      const model = await loadTestModel(
        backend(),
        folder.files(),
        withF16Matrices(backend(), counted),
      );
      expect(counted.matrices).toBeGreaterThan(0);
      const golden = folder.golden();
      // The longest: short ones have too few rows for tiles.
      const prompt = folder.prompts.at(-1) ?? "";
      const ids = golden.i32(`${prompt}.input_ids`);
      const expected = golden.f32(`${prompt}.logits`).values;
      const logits = await readPrompt(model, ids);
      expectAllClose(logits, expected, f16Tolerance(counted.matrices), "logits");
      expectSameChoices(logits, expected, model.model.vocabSize, f16Tolerance(counted.matrices));
      model.release();
    },
    LOADING_MS,
  );
});

async function readPrompt(model: TestModel, ids: Int32Array): Promise<Float32Array> {
  const state = model.createState(1);
  const logits = await model.run(state, [ids], { phase: "prefill", logits: "all" });
  state.release();
  return logits;
}

/** Wherever the golden choice leads by more than rounding can move two logits, it must be the choice. */
function expectSameChoices(
  logits: Float32Array,
  expected: Float32Array,
  vocabSize: number,
  { absolute }: Tolerance,
): void {
  for (let at = 0; at < expected.length; at += vocabSize) {
    const row = expected.subarray(at, at + vocabSize);
    const best = argmax(row);
    const second = Math.max(...row.filter((_, i) => i !== best));
    if ((row[best] ?? NaN) - second <= 2 * absolute) continue;
    expect(argmax(logits.subarray(at, at + vocabSize)), `choice ${at / vocabSize}`).toBe(best);
  }
}

/** Uploads matrices in f32 as f16, and counts them. */
function withF16Matrices(backend: Backend, counted: { matrices: number }): UploadTestWeight {
  return (spec, read) => {
    if (spec.use !== "matrix" || spec.dtype !== "f32") return backend.uploadWeight(spec, read);
    counted.matrices += 1;
    return backend.uploadWeight({ ...spec, dtype: "f16" }, async (first, count) => {
      const { buffer, byteOffset, byteLength } = await read(first, count);
      const values = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
      return new Uint8Array(Uint16Array.from(values, f32ToF16).buffer);
    });
  };
}
