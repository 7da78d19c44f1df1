/** Many answers of one request, whose activations are rounded to 8 bits where the CPU multiplies bytes. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { createWasmBackend } from "../../kernels/backends/wasm/backend.ts";
import { greedy, testEngine, type TestEngine } from "../testing/test-engine.ts";
import { WIDE_PROMPTS, wideModel } from "../testing/wide-models.ts";
import type { BackendCandidate } from "./backends.ts";
import type { Precision, SamplerOptions } from "./protocol.ts";

const wasm: BackendCandidate = {
  name: "wasm",
  automatic: true,
  create: async () => await createWasmBackend({ threads: 1 }),
};

const tokenizerHash = "0".repeat(64);
const ANSWERS = 16;
const samplers: readonly SamplerOptions[] = Array.from({ length: ANSWERS }, (_, seed) => ({
  ...greedy,
  temperature: 1,
  seed,
}));

/** A model of quantised matrices. */
async function start(name: string): Promise<TestEngine> {
  const files = wideModel(name);
  const engine = testEngine([wasm], (open) => files.find((file) => file.name === open));
  await engine.call("load", {
    files: files.map((file) => ({ name: file.name, open: file.name, bytes: file.bytes })),
    backend: "auto",
    quantise: "q8_0",
    kvDtype: "f32",
    threads: null,
  });
  return engine;
}

interface Answers {
  readonly activations: Precision;
  readonly answers: readonly {
    readonly ids: readonly number[];
    readonly reason: string;
    /** SHA-256 of a snapshot behind the answer. */
    readonly state: string;
  }[];
}

/** Answers of these samplers behind the prompt. */
async function answer(
  engine: TestEngine,
  trunk: number,
  chosen: readonly SamplerOptions[],
  activations: Precision | null,
  stopIds: readonly number[] = [],
): Promise<Answers> {
  const sessions: number[] = [];
  for (const _ of chosen) sessions.push((await engine.call("fork", { session: trunk })).session);
  const request = { sessions, samplers: chosen, stopIds, maxTokens: 12, activations };
  const out = await engine.call("generateMany", request);
  const answers = [];
  for (const [index, { ids, reason }] of out.branches.entries()) {
    const session = sessions[index] ?? -1;
    const { bytes } = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
    const state = createHash("sha256").update(bytes).digest("hex");
    answers.push({ ids: [...ids], reason, state });
    await engine.call("free", { session });
  }
  return { activations: out.activations, answers };
}

async function trunkOf(engine: TestEngine): Promise<number> {
  const { session } = await engine.call("create", {});
  const ids = Int32Array.from(WIDE_PROMPTS[0] ?? []);
  await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  return session;
}

// All matrices lie in blocks: products with others add up in another order for one row than for four.
describe("a model of matrices in blocks", () => {
  test("one of 16 answers is the same in every bit alone, among few, and while the others leave", async () => {
    const engine = await start("mamba2");
    const trunk = await trunkOf(engine);
    const all = await answer(engine, trunk, samplers, null);
    expect(all.activations).toBe("int8");
    for (const index of [0, 9, 15]) {
      const alone = await answer(engine, trunk, samplers.slice(index, index + 1), "int8");
      expect(alone.answers).toEqual(all.answers.slice(index, index + 1));
    }
    const few = await answer(engine, trunk, samplers.slice(3, 8), "int8");
    expect(few.answers).toEqual(all.answers.slice(3, 8));

    // What these write early ends them: fewer than 8 are left long before the last has ended.
    const stopIds = [...new Set(all.answers.slice(0, 12).map(({ ids }) => ids[2] ?? -1))];
    const leaving = await answer(engine, trunk, samplers, null, stopIds);
    expect(leaving.activations).toBe("int8");
    const stopped = leaving.answers.filter(({ reason }) => reason === "stop");
    expect(stopped.length).toBeGreaterThan(8);
    for (const [index, { ids, state }] of leaving.answers.entries()) {
      expect(ids).toEqual(all.answers[index]?.ids.slice(0, ids.length));
      const [alone] = (
        await answer(engine, trunk, samplers.slice(index, index + 1), "int8", stopIds)
      ).answers;
      expect(alone?.state).toEqual(state);
    }
  });

  test("fewer than 8 answers keep 16 bits, and are what they are alone", async () => {
    const engine = await start("mamba2");
    const trunk = await trunkOf(engine);
    const few = await answer(engine, trunk, samplers.slice(0, 7), null);
    expect(few.activations).toBe("int16");
    const [alone] = (await answer(engine, trunk, samplers.slice(2, 3), null)).answers;
    expect(few.answers[2]).toEqual(alone);
  });
});
