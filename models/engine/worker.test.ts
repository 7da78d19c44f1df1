import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import type { Backend } from "../../kernels/spec/backend.ts";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import type { BackendCandidate } from "./backends.ts";
import { EngineFault } from "./failure.ts";
import type { EngineReply, ModelInfo } from "./protocol.ts";
import {
  filesOf,
  greedy,
  testEngine as startTestEngine,
  type TestEngine,
} from "../testing/test-engine.ts";

const tokenizerHash = "0".repeat(64);

const reference: BackendCandidate = {
  name: "reference",
  automatic: true,
  create: async () => createReferenceBackend(),
};

/** Right in all but one value of every run. */
const broken: BackendCandidate = {
  name: "webgpu",
  automatic: true,
  async create() {
    const backend = createReferenceBackend();
    const compile: Backend["compile"] = async (plan) => {
      const executable = await backend.compile(plan);
      return {
        ...executable,
        async run(ids, state, readback) {
          const outputs = await executable.run(ids, state, readback);
          outputs[0]?.fill(Number.NaN, 3, 4);
          return outputs;
        },
      };
    };
    return {
      ...backend,
      name: "webgpu",
      device: { ...backend.device, backend: "webgpu", name: "a broken driver" },
      compile,
    };
  },
};

const absent: BackendCandidate = {
  name: "webgpu",
  automatic: true,
  async create() {
    throw new EngineFault("no-backend", "there is no WebGPU here.");
  },
};

function testEngine(candidates: readonly BackendCandidate[] = [reference]): TestEngine {
  return startTestEngine(candidates);
}

async function load(
  engine: TestEngine,
  folder: string,
  backend: "auto" | "webgpu" | "reference" = "auto",
  kvDtype: "f32" | "f16" = "f32",
): Promise<ModelInfo> {
  return await engine.call("load", {
    files: filesOf(folder),
    backend,
    quantise: null,
    kvDtype,
    threads: null,
  });
}

describe.each(["mamba", "mamba2", "bamba"])("%s", (folder) => {
  const golden = loadGolden(`models/${folder}/golden.safetensors`);
  const ids = golden.i32("p1.input_ids");

  test("prefill in chunks, then decode, gives transformers' logits and tokens", async () => {
    const engine = testEngine();
    await load(engine, folder);
    for (const chunk of [null, 7]) {
      const { session } = await engine.call("create", {});
      const prefill = await engine.call("prefill", { session, ids, chunk, logits: "all" });
      expect(prefill).toMatchObject({
        position: ids.length,
        prefilled: ids.length,
        cancelled: false,
      });
      expectAllClose(prefill.logits ?? [], golden.f32("p1.logits").values, LOGITS, "prefill");
      const decode = await engine.call("generate", {
        session,
        sampler: greedy,
        stopIds: [],
        maxTokens: 16,
        keepLogits: true,
      });
      expect([...decode.ids]).toEqual([...golden.i32("p1.greedy")]);
      expectAllClose(decode.logits ?? [], golden.f32("p1.decode_logits").values, LOGITS, "decode");
      expect(decode).toMatchObject({ reason: "length", position: ids.length + 16 });
      await engine.call("free", { session });
    }
  });

  test("a snapshot continues bit for bit, a fork goes its own way, a foreign state is refused", async () => {
    const engine = testEngine();
    await load(engine, folder);
    const { session } = await engine.call("create", {});
    await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
    const { bytes } = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
    const copy = await engine.call("fork", { session });
    const restored = await engine.call("restore", { bytes, tokenizerHash, recent: ids });
    expect(restored.position).toBe(ids.length);
    const run = async (of: number) =>
      await engine.call("generate", {
        session: of,
        sampler: greedy,
        stopIds: [],
        maxTokens: 8,
        keepLogits: true,
      });
    const first = await run(session);
    for (const other of [copy.session, restored.session]) {
      const again = await run(other);
      expect(again.ids).toEqual(first.ids);
      expect(again.logits).toEqual(first.logits);
    }
    await expect(
      engine.call("restore", { bytes, tokenizerHash: "1".repeat(64), recent: ids }),
    ).rejects.toMatchObject({ code: "state", data: { kind: "foreign" } });
    const changed = bytes.slice();
    changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
    await expect(
      engine.call("restore", { bytes: changed, tokenizerHash, recent: ids }),
    ).rejects.toMatchObject({
      code: "state",
      data: { kind: "corrupt" },
    });
  });
});

test("keys and values in f16 take half the memory, stay near, and are a state of their own", async () => {
  const golden = loadGolden("models/bamba/golden.safetensors");
  const ids = golden.i32("p1.input_ids");
  const expected = golden
    .f32("p1.logits")
    .values.subarray(-golden.f32("p1.logits").values.length / ids.length);
  const engine = testEngine();
  const taken: { readonly grown: number; readonly bytes: Uint8Array }[] = [];
  for (const kvDtype of ["f32", "f16"] as const) {
    const info = await load(engine, "bamba", "auto", kvDtype);
    const { session } = await engine.call("create", {});
    const empty = await engine.call("memory", {});
    const { logits } = await engine.call("prefill", { session, ids, chunk: 9, logits: "last" });
    expectAllClose(logits ?? [], expected, { absolute: 0.02, relative: 0 }, kvDtype);
    const grown = (await engine.call("memory", {})).states - empty.states;
    expect(grown).toBeGreaterThanOrEqual(ids.length * info.stateBytesPerToken);
    const { bytes } = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
    taken.push({ grown, bytes });
  }
  const [whole, half] = taken;
  expect(half?.grown).toBe((whole?.grown ?? 0) / 2);
  const foreign = engine.call("restore", {
    bytes: whole?.bytes ?? new Uint8Array(),
    tokenizerHash,
    recent: ids,
  });
  await expect(foreign).rejects.toMatchObject({ code: "state", data: { kind: "foreign" } });
  const own = { bytes: half?.bytes ?? new Uint8Array(), tokenizerHash, recent: ids };
  expect(await engine.call("restore", own)).toMatchObject({ position: ids.length });
});

test("a long sequence gives away each page once, from wherever it goes on", async () => {
  const engine = testEngine();
  await load(engine, "bamba");
  const ids = Int32Array.from({ length: 150 }, (_, i) => 3 + ((i * 7) % 100));
  const { session } = await engine.call("create", {});
  const read = async (of: number, from: number, to: number) =>
    await engine.call("prefill", {
      session: of,
      ids: ids.slice(from, to),
      chunk: null,
      logits: "none",
    });
  const take = async (of: number, pages: "all" | "new") =>
    await engine.call("snapshot", { session: of, tokenizerHash, pages });
  const pagesIn = ({ bytes, headBytes, pageBytes }: Awaited<ReturnType<typeof take>>): number =>
    (bytes.length - headBytes) / pageBytes;
  await read(session, 0, 70);
  const first = await take(session, "new");
  expect([pagesIn(first), first.pageHashes.length / 32]).toEqual([1, 1]);
  await read(session, 70, 130);
  const fork = await engine.call("fork", { session });
  const second = await take(session, "new");
  expect([pagesIn(second), second.pageHashes.length / 32]).toEqual([1, 2]);

  // What a store does: the head, and behind it every page.
  const bytes = new Uint8Array(second.bytes.length + first.pageBytes);
  bytes.set(second.bytes.subarray(0, second.headBytes));
  bytes.set(first.bytes.subarray(first.headBytes), second.headBytes);
  bytes.set(second.bytes.subarray(second.headBytes), second.headBytes + first.pageBytes);
  const whole = await take(session, "all");
  expect(bytes).toEqual(whole.bytes);
  const restored = await engine.call("restore", { bytes, tokenizerHash, recent: ids });
  for (const of of [restored.session, fork.session]) await read(of, 130, 150);
  expect(pagesIn(await take(restored.session, "new"))).toBe(0);
  expect(pagesIn(await take(fork.session, "new"))).toBe(1);
  expect((await take(restored.session, "all")).bytes).toEqual(
    (await take(fork.session, "all")).bytes,
  );
});

test("a state belongs to the weights, wherever their file lies, and to their quantisation", async () => {
  const engine = testEngine();
  const { modelHash } = await load(engine, "mamba2");
  const { session } = await engine.call("create", {});
  const ids = Int32Array.of(5, 6, 7);
  await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  const { bytes } = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
  const again = { bytes, tokenizerHash, recent: ids };

  expect((await load(engine, "bamba/../mamba2")).modelHash).toBe(modelHash);
  expect(await engine.call("restore", again)).toMatchObject({ position: 3 });
  const quantised = await engine.call("load", {
    files: filesOf("mamba2"),
    backend: "auto",
    quantise: "q8_0",
    kvDtype: "f32",
    threads: null,
  });
  expect(quantised.modelHash).not.toBe(modelHash);
  await expect(engine.call("restore", again)).rejects.toMatchObject({
    code: "state",
    data: { kind: "foreign" },
    message: expect.stringContaining("another model"),
  });
});

test("a repetition penalty sees what was said before a restore", async () => {
  const golden = loadGolden("models/mamba/golden.safetensors");
  const ids = golden.i32("p1.input_ids");
  const engine = testEngine();
  await load(engine, "mamba");
  const { session } = await engine.call("create", {});
  await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  const { bytes } = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
  const penalised = async (of: number) => {
    const { ids: chosen } = await engine.call("generate", {
      session: of,
      sampler: { ...greedy, repetitionPenalty: 3, repetitionWindow: 256 },
      stopIds: [],
      maxTokens: 16,
      keepLogits: false,
    });
    return [...chosen];
  };
  const knowing = await engine.call("restore", { bytes, tokenizerHash, recent: ids });
  const unknowing = await engine.call("restore", {
    bytes,
    tokenizerHash,
    recent: new Int32Array(),
  });
  const uninterrupted = await penalised(session);
  expect(await penalised(knowing.session)).toEqual(uninterrupted);
  expect(await penalised(unknowing.session)).not.toEqual(uninterrupted);
});

test("a stop id is fed and ends the answer", async () => {
  const golden = loadGolden("models/mamba/golden.safetensors");
  const engine = testEngine();
  await load(engine, "mamba");
  const { session } = await engine.call("create", {});
  await engine.call("prefill", {
    session,
    ids: golden.i32("p0.input_ids"),
    chunk: null,
    logits: "none",
  });
  const stop = golden.i32("p0.greedy")[0] ?? -1;
  const result = await engine.call("generate", {
    session,
    sampler: greedy,
    stopIds: [stop],
    maxTokens: 16,
    keepLogits: false,
  });
  expect(result).toMatchObject({ reason: "stop", position: 14 });
  expect([...result.ids]).toEqual([stop]);
});

test("a cancel takes effect within a chunk or a token, and what was completed counts", async () => {
  const engine = testEngine();
  await load(engine, "mamba");
  const { session } = await engine.call("create", {});
  const cancelAt = (after: number) => (reply: EngineReply, id: number) => {
    if (reply.kind !== "event") return;
    const count = reply.event.type === "progress" ? reply.event.done : reply.event.index + 1;
    if (count === after) engine.post({ id: 1000 + id, method: "cancel", input: { target: id } });
  };
  const prefill = await engine.call(
    "prefill",
    { session, ids: new Int32Array(200).fill(5), chunk: 10, logits: "last" },
    cancelAt(30),
  );
  expect(prefill.cancelled).toBe(true);
  expect(prefill.prefilled).toBeLessThanOrEqual(50);
  expect(prefill.position).toBe(prefill.prefilled);
  const answer = await engine.call(
    "generate",
    { session, sampler: greedy, stopIds: [], maxTokens: 500, keepLogits: false },
    cancelAt(3),
  );
  expect(answer.reason).toBe("cancelled");
  expect(answer.ids.length).toBeLessThanOrEqual(6);
  expect(answer.position).toBe(prefill.position + answer.ids.length);
});

describe("a backend that computes garbage", () => {
  test("is left for the next one, and the user is told", async () => {
    const info = await load(testEngine([broken, reference]), "mamba");
    expect(info.device.backend).toBe("reference");
    expect(info.notices).toEqual([expect.stringContaining('"webgpu" was left for the next one')]);
  });

  test("is an error when it was asked for by name", async () => {
    await expect(load(testEngine([broken, reference]), "mamba", "webgpu")).rejects.toMatchObject({
      code: "self-test",
    });
  });

  test("a backend that is not there is no news", async () => {
    const engine = testEngine([absent, reference]);
    expect((await load(engine, "mamba")).notices).toEqual([]);
    await expect(load(engine, "mamba", "webgpu")).rejects.toMatchObject({ code: "no-backend" });
  });
});

test("requests that make no sense fail typed and change nothing", async () => {
  const engine = testEngine();
  await expect(engine.call("create", {})).rejects.toMatchObject({ code: "no-model" });
  await load(engine, "mamba");
  const { session } = await engine.call("create", {});
  const prefill = (ids: number[]) =>
    engine.call("prefill", { session, ids: Int32Array.from(ids), chunk: null, logits: "none" });
  await expect(prefill([1, 112])).rejects.toMatchObject({
    code: "bad-request",
    data: { token: 112, at: 1 },
  });
  await expect(prefill([-1])).rejects.toMatchObject({ code: "bad-request" });
  await expect(
    engine.call("generate", {
      session,
      sampler: greedy,
      stopIds: [],
      maxTokens: 1,
      keepLogits: false,
    }),
  ).rejects.toMatchObject({ code: "bad-request" });
  await expect(engine.call("free", { session: 99 })).rejects.toMatchObject({ code: "no-session" });
  await expect(
    engine.call("prefill", { session, ids: Int32Array.of(1), chunk: 0, logits: "none" }),
  ).rejects.toMatchObject({ code: "bad-request", data: { field: "chunk" } });
  expect((await prefill([1])).position).toBe(1);
  await engine.call("unload", {});
  await expect(prefill([1])).rejects.toMatchObject({ code: "no-model" });
});

test("inspect tells what the headers say, and what a token costs", async () => {
  const { runs, tensors, modelType } = await testEngine().call("inspect", {
    files: filesOf("mamba2"),
  });
  expect(modelType).toBe("mamba2");
  expect(tensors).toContainEqual({
    name: "lm_head.weight",
    dtype: "f32",
    shape: [112, 48],
    bytes: 112 * 48 * 4,
  });
  // 3 layers of a (128, 3) conv state and 4 heads of 24 × 16.
  const stateBytes = 3 * 4 * (128 * 3 + 4 * 24 * 16);
  expect(runs).toMatchObject({ nLayer: 3, dModel: 48, vocabSize: 112, stateBytes });
  // All weights but the embedding, of which one row is read; the state is read and written.
  expect(runs?.bytesPerToken).toBe((runs?.weightBytes ?? 0) - 111 * 48 * 4 + 2 * stateBytes);
});
