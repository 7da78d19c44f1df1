import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { furthest } from "../../kernels/testing/all-close.ts";
import { openConversion } from "../../models/convert/convert.ts";
import { loadTestModel } from "../../models/testing/test-model.ts";
import { memoryFile } from "../../models/weights/memory-file.ts";
import { promptIds } from "./engine.ts";
import { FORMATS, makeModel, modelBytes, tokenText, type Format } from "./make-model.ts";
import { shapeFiles } from "./shape-files.ts";
import { mamba, mamba2, MODEL_SHAPES, type ModelShape } from "./shapes.ts";

const small = {
  "small-mamba": mamba(2, 256, 288),
  "small-mamba2": mamba2(2, 256, 288),
} as const satisfies Record<string, ModelShape>;
const formats = Object.keys(FORMATS) as Format[];

async function bytesOf(shape: ModelShape, format: Format, decoded = false): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of modelBytes("small", shape, format, decoded)) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

async function logitsOf(bytes: Uint8Array): Promise<Float32Array> {
  const backend = createReferenceBackend();
  const model = await loadTestModel(backend, [memoryFile("small.gguf", bytes)]);
  const logits = await model.run(model.createState(1), [promptIds(12)], {
    phase: "prefill",
    logits: "last",
  });
  model.release();
  return logits;
}

/** Millions of parameters of the published models (their cards), and of the two that ours are like. */
const MILLIONS = {
  "mamba-130m": 129,
  "mamba-1.4b": 1372,
  "mamba-2.8b": 2768,
  "mamba2-130m": 129,
  "mamba2-1.3b": 1344,
  "mamba2-2.7b": 2702,
  "jamba-3b-like": 3000,
  "granite-4.0-h-350m-like": 340,
} as const satisfies Record<keyof typeof MODEL_SHAPES, number>;

test.each(Object.entries(MODEL_SHAPES))("%s has the size of its name", (name, { tensors }) => {
  const count = Object.values<readonly number[]>(tensors).reduce(
    (sum, shape) => sum + shape.reduce((product, side) => product * side, 1),
    0,
  );
  const expected = MILLIONS[name as keyof typeof MODEL_SHAPES];
  expect(Math.abs(count / 1e6 / expected - 1)).toBeLessThan(0.02);
});

test.each(Object.entries(MODEL_SHAPES))(
  "%s can be written: every tensor that its architecture asks for has its shape",
  async (name, shape) => {
    const conversion = await openConversion(shapeFiles(shape), name, "Q8_0");
    expect(conversion.tensors.length).toBeGreaterThan(100);
    await conversion.close();
  },
);

test.each(Object.entries(small))("%s is the same every time", async (_name, shape) => {
  const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  const once = hash(await bytesOf(shape, "q8_0"));
  expect(hash(await bytesOf(shape, "q8_0"))).toBe(once);
  expect(hash(await bytesOf(shape, "f16"))).not.toBe(once);
});

test.each(Object.entries(small))(
  "%s runs in every format, and the same as with its values as f32",
  async (_name, shape) => {
    for (const format of formats) {
      const logits = await logitsOf(await bytesOf(shape, format));
      const exact = await logitsOf(await bytesOf(shape, format, true));
      expect(Math.max(...logits.map(Math.abs)), format).toBeGreaterThan(0.1);
      expect(furthest(logits, exact), format).toBeLessThan(1e-4);
    }
  },
);

test("A file is written once, and never half", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "tarn-bench-test-"));
  try {
    const file = await makeModel(folder, "small", small["small-mamba"], "q8_0");
    expect(await makeModel(folder, "small", small["small-mamba"], "q8_0")).toBe(file);
    expect(await readdir(folder)).toEqual(["small-q8_0.gguf"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("All texts of tokens are ASCII, and no two are the same", () => {
  const texts = Array.from({ length: 300 }, (_, id) => tokenText(id));
  expect(new Set(texts).size).toBe(300);
  expect(texts.join("")).toMatch(/^[ -~]*$/);
  expect(promptIds(60).map(tokenText).join("")).toMatch(/^[a-z]{60}$/);
});
