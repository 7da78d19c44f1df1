import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { filesOf } from "../testing/test-engine.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { loadModel, type LoadedModel } from "./loader.ts";
import { createMapTable, type MapRoom } from "./memory-map.ts";
import type { EngineMethods } from "./protocol.ts";
import type { RequestContext } from "./run.ts";

const context: RequestContext = {
  signal: new AbortController().signal,
  emit: () => undefined,
  yield: async () => undefined,
};

function mapOf(
  model: LoadedModel,
  ids: Int32Array,
  room?: MapRoom,
): Promise<EngineMethods["memoryMap"]["out"]> {
  return createMapTable(model, room).run({ ids, map: null }, context);
}

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
  const { layers, cancelled } = await mapOf(model, ids);
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
    const whole = await mapOf(model, ids);
    const inStretches = await mapOf(model, ids, { states: 2 ** 30, rows: 1 });
    for (const [layer, { shares }] of inStretches.layers.entries()) {
      for (const [t, share] of shares.entries())
        expect(share).toBeCloseTo(whole.layers[layer]?.shares[t] ?? -1, 5);
    }
    await model.release();
  },
);

test("a sequence whose states do not fit is refused before it is read", async () => {
  const model = await load("mamba2");
  await expect(mapOf(model, longPrompt("mamba2"), { states: 1, rows: 1 })).rejects.toMatchObject({
    code: "bad-request",
    data: { length: 300 },
  });
  await model.release();
});

test("cancelled at every step and gone on with it is the same; given up it leaves no state behind", async () => {
  const model = await load("mamba2");
  const ids = longPrompt("mamba2");
  const room = { states: 2 ** 30, rows: 1 };
  const whole = await mapOf(model, ids, room);
  const before = model.backend.memory().states;
  const maps = createMapTable(model, room);
  const step = async (map: number | null) => {
    const abort = new AbortController();
    const stopping = { ...context, signal: abort.signal, emit: () => abort.abort() };
    return await maps.run({ ids, map }, stopping);
  };
  let result = await step(null);
  let steps = 1;
  while (result.cancelled) {
    expect(result.layers).toEqual([]);
    expect(model.backend.memory().states).toBeGreaterThan(before);
    // Another sequence in between does not disturb it.
    if (steps === 1) await mapOf(model, ids.subarray(0, 40));
    result = await step(result.map);
    steps++;
  }
  expect(steps).toBeGreaterThan(3);
  expect(result).toEqual(whole);
  expect(model.backend.memory().states).toBe(before);

  const { map } = await step(null);
  await maps.drop(map ?? -1);
  expect(model.backend.memory().states).toBe(before);
  await expect(step(map)).rejects.toMatchObject({ code: "no-session" });
  await step(null);
  await maps.release();
  expect(model.backend.memory().states).toBe(before);
  await model.release();
});

test("a model that keeps every token has no map", async () => {
  const model = await load("lfm2");
  await expect(mapOf(model, Int32Array.of(1, 2))).rejects.toMatchObject({
    code: "bad-request",
    message: expect.stringContaining("lfm2"),
  });
  await model.release();
});
