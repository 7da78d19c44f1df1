import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { filesOf } from "../testing/test-engine.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { loadModel, type LoadedModel } from "./loader.ts";
import { memoryMap } from "./memory-map.ts";
import type { RequestContext } from "./run.ts";

const context: RequestContext = {
  signal: new AbortController().signal,
  emit: () => undefined,
  yield: async () => undefined,
};

async function load(folder: string): Promise<LoadedModel> {
  return await loadModel(
    {
      port: { postMessage: () => undefined, onMessage: () => undefined },
      openFile: async (open) =>
        memoryFile(
          open.split("/").at(-1) ?? "",
          new Uint8Array(
            readFileSync(new URL(`../../e2e/fixtures/models/${open}`, import.meta.url)),
          ),
        ),
      requestGpu: async () => null,
      spawnThread: null,
      cores: 1,
    },
    [{ name: "reference", automatic: true, create: async () => createReferenceBackend() }],
    new Set(),
    {
      files: filesOf(folder),
      backend: "reference",
      quantise: null,
      kvDtype: "f32",
      threads: null,
    },
    () => 1,
  );
}

/** 300 ids: two chunks of prefill and a rest. */
function longPrompt(folder: string): Int32Array {
  const ids = loadGolden(`models/${folder}/golden.safetensors`).i32("p1.input_ids");
  return Int32Array.from({ length: 300 }, (_, i) => ids[(i * 7) % ids.length] ?? 0);
}

test.each([
  ["mamba", 2],
  ["mamba2", 2],
  ["jamba", 3],
  ["qwen3_5_text", 3],
  ["kimi_linear", 3],
  ["recurrent_gemma", 2],
  ["rwkv7", 2],
])("%s: all of the last token is held, and of others a part", async (folder) => {
  const model = await load(folder);
  const ids = longPrompt(folder);
  const { layers, cancelled } = await memoryMap(model, { ids }, context);
  expect(cancelled).toBe(false);
  expect(layers.length).toBeGreaterThan(0);
  for (const { name, shares } of layers) {
    expect(name).toMatch(/^layers\.\d+\./);
    expect(shares).toHaveLength(ids.length);
    expect(shares.at(-1)).toBeCloseTo(1, 6);
    expect(shares.every((share) => share >= 0 && share <= 1)).toBe(true);
    expect(Math.min(...shares)).toBeLessThan(0.999);
  }
  await model.release();
});

test.each(["mamba2", "jamba", "qwen3_5_text"])(
  "%s: is the same in stretches with states between them",
  async (folder) => {
    const model = await load(folder);
    const ids = longPrompt(folder);
    const whole = await memoryMap(model, { ids }, context);
    const inStretches = await memoryMap(model, { ids }, context, { states: 2 ** 30, rows: 1 });
    for (const [layer, { shares }] of inStretches.layers.entries()) {
      for (const [t, share] of shares.entries())
        expect(share).toBeCloseTo(whole.layers[layer]?.shares[t] ?? -1, 5);
    }
    await model.release();
  },
);

test("a sequence whose states do not fit is refused before it is read", async () => {
  const model = await load("mamba2");
  await expect(
    memoryMap(model, { ids: longPrompt("mamba2") }, context, { states: 1, rows: 1 }),
  ).rejects.toMatchObject({ code: "bad-request", data: { length: 300 } });
  await model.release();
});

test("a cancel ends it, and leaves no state behind", async () => {
  const model = await load("mamba2");
  const before = model.backend.memory().states;
  const abort = new AbortController();
  const result = await memoryMap(
    model,
    { ids: longPrompt("mamba2") },
    { ...context, signal: abort.signal, emit: () => abort.abort() },
  );
  expect(result).toEqual({ layers: [], cancelled: true });
  expect(model.backend.memory().states).toBe(before);
  await model.release();
});

test("a model that keeps every token has no map", async () => {
  const model = await load("lfm2");
  await expect(memoryMap(model, { ids: Int32Array.of(1, 2) }, context)).rejects.toMatchObject({
    code: "bad-request",
    message: expect.stringContaining("lfm2"),
  });
  await model.release();
});
