import { describe, expect, test } from "vitest";
import { createReferenceBackend } from "../../kernels/backends/reference/backend.ts";
import { createWasmBackend } from "../../kernels/backends/wasm/backend.ts";
import type { Executable } from "../../kernels/spec/backend.ts";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { spawnTestThread } from "../../kernels/testing/test-thread.ts";
import { filesOf, greedy, testEngine, type TestEngine } from "../testing/test-engine.ts";
import { createChooser, penalised } from "../generate/choose.ts";
import { logProbability } from "../generate/log-probability.ts";
import type { BackendCandidate } from "./backends.ts";
import type { EngineReply, SamplerOptions } from "./protocol.ts";

const tokenizerHash = "0".repeat(64);

/** Feeds what follows by the rules, a run at a time, as a GPU does without a way through host memory. */
function runAheadOf(executable: Executable): NonNullable<Executable["runAhead"]> {
  return async (first, state, { steps, stopIds, choices }, onFed) => {
    const choose = createChooser();
    const recent = choices?.map((choice) => [...choice.recent]) ?? [];
    const nextOf = (logits: Float32Array, b: number): number => {
      const [choice, seen] = [choices?.[b], recent[b]];
      if (choice === undefined || seen === undefined) return logits.indexOf(Math.max(...logits));
      const { rule, nextUniform } = choice;
      const scores = logits.slice();
      const window = rule.window === 0 ? [] : seen.slice(-rule.window);
      for (const id of window) scores[id] = penalised(logits[id] ?? 0, rule);
      const token = choose(scores, rule, nextUniform);
      seen.push(token);
      return token;
    };
    let ids = [...first];
    for (let run = 1; ; run++) {
      const outputs = await executable.run(Int32Array.from(ids), state, true);
      const logits = outputs[0] ?? new Float32Array();
      const size = logits.length / ids.length;
      const fed = Int32Array.from(ids);
      const logProbs: number[] = [];
      const isLast = run === steps || ids.some((id) => stopIds.includes(id));
      ids = ids.map((_, b) => {
        const row = logits.subarray(b * size, (b + 1) * size);
        const next = nextOf(row, b);
        logProbs.push(logProbability(row, next));
        return next;
      });
      const goesOn = await onFed({ fed, logProbs: Float32Array.from(logProbs) });
      if (isLast || !goesOn) return outputs;
    }
  };
}

const candidates: Readonly<Record<"reference" | "wasm" | "enqueues", BackendCandidate>> = {
  enqueues: {
    name: "reference",
    automatic: true,
    async create() {
      const backend = createReferenceBackend();
      return {
        ...backend,
        async compile(plan) {
          const executable = await backend.compile(plan);
          return { ...executable, runAhead: runAheadOf(executable) };
        },
      };
    },
  },
  reference: {
    name: "reference",
    automatic: true,
    create: async () => createReferenceBackend(),
  },
  wasm: {
    name: "wasm",
    automatic: true,
    create: async () => await createWasmBackend({ threads: 2, spawnThread: spawnTestThread }),
  },
};

async function start(backend: keyof typeof candidates, folder: string): Promise<TestEngine> {
  const engine = testEngine([candidates[backend]]);
  await engine.call("load", {
    files: filesOf(folder),
    backend: "auto",
    quantise: null,
    kvDtype: "f32",
    threads: null,
  });
  return engine;
}

/** Different beginnings, of different lengths, of the golden prompt. */
function prompts(folder: string): Int32Array[] {
  const ids = loadGolden(`models/${folder}/golden.safetensors`).i32("p1.input_ids");
  return [ids, ids.slice(3), ids.slice(0, 11), ids.slice(2, 13), ids.slice(0, -1)];
}

async function createAll(engine: TestEngine, count: number): Promise<number[]> {
  const sessions: number[] = [];
  for (let i = 0; i < count; i++) sessions.push((await engine.call("create", {})).session);
  return sessions;
}

async function logitsOf(engine: TestEngine, session: number): Promise<Float32Array> {
  const nothing = { ids: new Int32Array(), chunk: null };
  const { logits } = await engine.call("prefill", { session, ...nothing, logits: "last" });
  return logits ?? new Float32Array();
}

async function stateOf(engine: TestEngine, session: number): Promise<Uint8Array> {
  const pages = "all";
  return (await engine.call("snapshot", { session, tokenizerHash, pages })).bytes;
}

test.each<{ readonly choices: string; readonly sampler: SamplerOptions }>([
  { choices: "likeliest", sampler: greedy },
  {
    choices: "sampled",
    sampler: { ...greedy, temperature: 1, repetitionPenalty: 1.2, repetitionWindow: 5 },
  },
])(
  "batches whose $choices tokens are chosen ahead give what they give one by one",
  async ({ sampler }) => {
    const answers = [];
    for (const backend of ["reference", "enqueues"] as const) {
      const engine = await start(backend, "mamba2");
      const ids = prompts("mamba2");
      const sessions = await createAll(engine, ids.length);
      await engine.call("prefillMany", { sessions, ids, chunk: null });
      const samplers = ids.map((_, seed) => ({ ...sampler, seed }));
      const free = await engine.call("generateMany", {
        sessions,
        samplers,
        stopIds: [],
        maxTokens: 9,
        activations: null,
      });
      // The last session meets this id first or early; the others go on without it.
      const stopIds = [free.branches[4]?.ids[1] ?? -1];
      const again = await createAll(engine, ids.length);
      await engine.call("prefillMany", { sessions: again, ids, chunk: null });
      const stopped = await engine.call("generateMany", {
        sessions: again,
        samplers,
        stopIds,
        maxTokens: 9,
        activations: null,
      });
      answers.push([free, stopped].flatMap(({ branches }) => branches));
      await engine.call("unload", {});
    }
    const [expected = [], actual = []] = answers;
    expect(actual.map(({ ids, reason, position }) => ({ ids, reason, position }))).toEqual(
      expected.map(({ ids, reason, position }) => ({ ids, reason, position })),
    );
    for (const [index, { logProbs }] of expected.entries())
      expectAllClose(actual[index]?.logProbs ?? [], logProbs, LOGITS, `branch ${index}`);
  },
);

describe.each(["reference", "wasm"] as const)("batches on %s", (backend) => {
  test.each(["mamba", "mamba2", "bamba"])(
    "of %s give what each session gives alone",
    async (folder) => {
      const engine = await start(backend, folder);
      const ids = prompts(folder);
      const single = await createAll(engine, ids.length);
      const many = await createAll(engine, ids.length);
      const read = await engine.call("prefillMany", { sessions: many, ids, chunk: 5 });
      expect(read).toEqual({
        positions: ids.map(({ length }) => length),
        prefilled: ids.reduce((sum, { length }) => sum + length, 0),
        cancelled: false,
      });
      const shared = { stopIds: [], maxTokens: 6 };
      const samplers = ids.map((_, seed) => ({
        ...greedy,
        temperature: seed === 0 ? 0 : 0.8,
        seed,
      }));
      const { branches } = await engine.call("generateMany", {
        sessions: many,
        samplers,
        ...shared,
        activations: null,
      });
      for (const [index, session] of single.entries()) {
        const prompt = ids[index] ?? new Int32Array();
        const sampler = samplers[index] ?? greedy;
        await engine.call("prefill", { session, ids: prompt, chunk: 5, logits: "none" });
        const alone = await engine.call("generate", {
          session,
          sampler,
          ...shared,
          keepLogits: false,
        });
        expect(branches[index]).toMatchObject({
          ids: alone.ids,
          reason: "length",
          position: alone.position,
        });
        const other = many[index] ?? -1;
        // WASM multiplies one row and several by different loops, whose f32 sums differ in their last bits.
        if (backend === "wasm")
          expectAllClose(
            await logitsOf(engine, other),
            await logitsOf(engine, session),
            LOGITS,
            folder,
          );
        else expect(await stateOf(engine, other)).toEqual(await stateOf(engine, session));
      }
    },
  );
});

describe.each(["mamba", "bamba"])("%s", (folder) => {
  test("a branch that stops leaves, right behind its stop id, and the others go on", async () => {
    const engine = await start("reference", folder);
    const ids = prompts(folder);
    const sessions = await createAll(engine, ids.length);
    const alone = await createAll(engine, ids.length);
    await engine.call("prefillMany", { sessions, ids, chunk: null });
    await engine.call("prefillMany", { sessions: alone, ids, chunk: null });
    const samplers = ids.map((_, seed) => ({ ...greedy, temperature: 1, seed }));
    const probe = await engine.call("fork", { session: sessions[1] ?? -1 });
    const first = await engine.call("generate", {
      session: probe.session,
      sampler: samplers[1] ?? greedy,
      stopIds: [],
      maxTokens: 4,
      keepLogits: false,
    });
    const stopIds = [first.ids[2] ?? -1];
    const tokens: [branch: number, index: number][] = [];
    const { branches } = await engine.call(
      "generateMany",
      { sessions, samplers, stopIds, maxTokens: 12, activations: null },
      ({ kind, ...reply }) => {
        if (kind !== "event" || !("event" in reply) || reply.event.type !== "token") return;
        tokens.push([reply.event.branch, reply.event.index]);
      },
    );
    expect(branches[1]).toMatchObject({ reason: "stop" });
    expect(new Set(branches.map(({ ids: { length } }) => length)).size).toBeGreaterThan(1);
    for (const [index, session] of alone.entries()) {
      const sampler = samplers[index] ?? greedy;
      const out = await engine.call("generate", {
        session,
        sampler,
        stopIds,
        maxTokens: 12,
        keepLogits: false,
      });
      const { ids: written, reason, position } = out;
      expect(branches[index]).toMatchObject({ ids: written, reason, position });
      expect(tokens.filter(([branch]) => branch === index).map(([, at]) => at)).toEqual(
        Array.from(written, (_, at) => at),
      );
      expect(await stateOf(engine, sessions[index] ?? -1)).toEqual(await stateOf(engine, session));
    }
  });

  test("probabilities are those of the logits, sampled or given, and scoring keeps nothing", async () => {
    const engine = await start("reference", folder);
    const ids = prompts(folder);
    const sessions = await createAll(engine, ids.length);
    await engine.call("prefillMany", { sessions, ids, chunk: null });
    const before = await stateOf(engine, sessions[0] ?? -1);
    const logits = await logitsOf(engine, sessions[0] ?? -1);
    const forks: number[] = [];
    for (const from of sessions) forks.push((await engine.call("fork", { session: from })).session);
    const { branches } = await engine.call("generateMany", {
      sessions: forks,
      samplers: forks.map((_, seed) => ({ ...greedy, temperature: 1.5, seed })),
      stopIds: [],
      maxTokens: 5,
      activations: null,
    });
    const { logProbs, cancelled } = await engine.call("scoreMany", {
      sessions,
      ids: branches.map((branch) => branch.ids),
    });
    expect(cancelled).toBe(false);
    for (const [index, branch] of branches.entries()) {
      // A prompt's chunk adds up in another order than its tokens one by one.
      for (const [at, value] of branch.logProbs.entries())
        expect(logProbs[index]?.[at]).toBeCloseTo(value, 4);
    }
    const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
    const chosen = branches[0]?.ids[0] ?? -1;
    expect(branches[0]?.logProbs[0]).toBeCloseTo((logits[chosen] ?? 0) - Math.log(sum), 5);
    const own = await engine.call("score", {
      session: sessions[0] ?? -1,
      ids: branches[0]?.ids ?? new Int32Array(),
    });
    expect([...own.logProbs]).toEqual([...(logProbs[0] ?? [])]);
    expect(await stateOf(engine, sessions[0] ?? -1)).toEqual(before);
  });
});

test("a cancel leaves every session where its completed tokens end", async () => {
  const engine = await start("reference", "bamba");
  const sessions = await createAll(engine, 3);
  const cancelAt = (after: number) => {
    let seen = 0;
    return (reply: EngineReply, id: number) => {
      if (reply.kind === "event" && ++seen === after)
        engine.post({ id: 1000 + id, method: "cancel", input: { target: id } });
    };
  };
  const ids = [60, 60, 44].map((length, first) => new Int32Array(length).fill(first + 3));
  const read = await engine.call("prefillMany", { sessions, ids, chunk: 8 }, cancelAt(2));
  expect(read.cancelled).toBe(true);
  expect(read.prefilled).toBe(read.positions.reduce((sum, position) => sum + position, 0));
  const shared = { stopIds: [], maxTokens: 500 };
  const answer = await engine.call(
    "generateMany",
    { sessions, samplers: sessions.map(() => greedy), ...shared, activations: null },
    cancelAt(7),
  );
  for (const [index, { ids: written, reason, position, logProbs }] of answer.branches.entries()) {
    expect(reason).toBe("cancelled");
    expect(written.length).toBeLessThan(10);
    expect(logProbs.length).toBe(written.length);
    expect(position).toBe((read.positions[index] ?? 0) + written.length);
    // The state is the one of exactly these tokens.
    const [again = -1] = await createAll(engine, 1);
    const prompt = ids[index]?.subarray(0, read.positions[index]) ?? new Int32Array();
    await engine.call("prefill", { session: again, ids: prompt, chunk: 8, logits: "none" });
    const { ids: same } = await engine.call("generate", {
      session: again,
      sampler: greedy,
      stopIds: [],
      maxTokens: written.length,
      keepLogits: false,
    });
    expect(same).toEqual(written);
    expect(await stateOf(engine, sessions[index] ?? -1)).toEqual(await stateOf(engine, again));
  }
});

test("more sessions than a batch holds take their turns", async () => {
  const engine = await start("reference", "mamba");
  const sessions = await createAll(engine, 20);
  const ids = sessions.map((_, index) => Int32Array.of(index + 1, 2, 3));
  await engine.call("prefillMany", { sessions, ids, chunk: null });
  const { branches } = await engine.call("generateMany", {
    sessions,
    samplers: sessions.map(() => greedy),
    stopIds: [],
    maxTokens: 3,
    activations: null,
  });
  expect(branches.map(({ position }) => position)).toEqual(sessions.map(() => 6));
});

test("requests for many that make no sense fail typed and change nothing", async () => {
  const engine = await start("reference", "mamba");
  const [a = -1, b = -1] = await createAll(engine, 2);
  const prefill = (sessions: number[], ids: Int32Array[]) =>
    engine.call("prefillMany", { sessions, ids, chunk: null });
  const badRequest = { code: "bad-request" };
  await expect(prefill([a, a], [Int32Array.of(1), Int32Array.of(1)])).rejects.toMatchObject(
    badRequest,
  );
  await expect(prefill([a, b], [Int32Array.of(1)])).rejects.toMatchObject(badRequest);
  await expect(prefill([a, b], [Int32Array.of(1), Int32Array.of(112)])).rejects.toMatchObject(
    badRequest,
  );
  await expect(prefill([], [])).rejects.toMatchObject(badRequest);
  await expect(prefill([a, 99], [Int32Array.of(1), Int32Array.of(1)])).rejects.toMatchObject({
    code: "no-session",
  });
  const generate = {
    sessions: [a, b],
    samplers: [greedy, greedy],
    stopIds: [],
    maxTokens: 1,
    activations: null,
  };
  await expect(engine.call("generateMany", generate)).rejects.toMatchObject(badRequest);
  await expect(engine.call("score", { session: a, ids: Int32Array.of(1) })).rejects.toMatchObject(
    badRequest,
  );
  expect((await prefill([a, b], [Int32Array.of(1), Int32Array.of(2)])).positions).toEqual([1, 1]);
  await expect(
    engine.call("generateMany", { ...generate, samplers: [greedy] }),
  ).rejects.toMatchObject(badRequest);
});
