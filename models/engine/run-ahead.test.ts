import { expect, test } from "vitest";
import { forEachBackend } from "../../kernels/testing/for-each-backend.ts";
import { openBackend } from "../../kernels/testing/open-backend.ts";
import type { Backend } from "../../kernels/spec/backend.ts";
import type { Plan } from "../../kernels/spec/op.ts";
import { loadGolden } from "../../kernels/testing/golden.ts";
import { filesOf, greedy, testEngine, type TestEngine } from "../testing/test-engine.ts";
import type { EngineReply, SamplerOptions } from "./protocol.ts";

const MODEL = "mamba2";
const tokenizerHash = "0".repeat(64);

const samplers: readonly SamplerOptions[] = [
  { ...greedy, temperature: 1, topK: 20, topP: 0.9, minP: 0.02, seed: 2 },
  { ...greedy, temperature: 1.2, repetitionPenalty: 1.3, repetitionWindow: 9, seed: 3 },
  { ...greedy, repetitionPenalty: 1.5, repetitionWindow: 64 },
  greedy,
];

/** A backend that makes one run a call. */
function stepwise(backend: Backend): Backend {
  return new Proxy(backend, {
    get(target, name) {
      if (name === "compile") {
        return async (plan: Plan) => {
          const { runAhead: _, ...executable } = await target.compile(plan);
          return executable;
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function start(name: Backend["name"], ahead: boolean): Promise<TestEngine> {
  const create = async (): Promise<Backend> => {
    const backend = await openBackend(name);
    return ahead ? backend : stepwise(backend);
  };
  const engine = testEngine([{ name, automatic: true, create }]);
  await engine.call("load", {
    files: filesOf(MODEL),
    backend: "auto",
    quantise: null,
    kvDtype: "f32",
    threads: null,
  });
  return engine;
}

async function begin(engine: TestEngine, from: number): Promise<number> {
  const { session } = await engine.call("create", {});
  const ids = loadGolden(`models/${MODEL}/golden.safetensors`)
    .i32("p1.input_ids")
    .slice(from, from + 6);
  await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  return session;
}

/** Everything that a session is. */
async function standOf(engine: TestEngine, session: number): Promise<unknown> {
  const nothing = { ids: new Int32Array(), chunk: null };
  const { logits, position } = await engine.call("prefill", {
    session,
    ...nothing,
    logits: "last",
  });
  const { bytes } = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
  return { logits, position, bytes };
}

forEachBackend("answers whose runs go ahead", (_, name) => {
  test("are those of single steps, to the bit", async () => {
    const seen = [];
    for (const ahead of [false, true]) {
      const engine = await start(name, ahead);
      for (const sampler of samplers) {
        const session = await begin(engine, 0);
        const shared = { session, sampler, keepLogits: false };
        const free = await engine.call("generate", { ...shared, stopIds: [], maxTokens: 12 });
        const behind = await standOf(engine, session);
        // A second answer knows what the first has left for the penalty.
        const more = await engine.call("generate", { ...shared, stopIds: [], maxTokens: 3 });
        for (const place of [1, 6]) {
          const stopped = { ...shared, session: await begin(engine, 0) };
          const stopIds = [free.ids[place] ?? -1];
          const { ids, reason } = await engine.call("generate", {
            ...stopped,
            stopIds,
            maxTokens: 12,
          });
          seen.push({ ids, reason, stand: await standOf(engine, stopped.session) });
        }
        seen.push(free.ids, behind, more.ids, await standOf(engine, session));
      }
      await engine.call("unload", {});
    }
    const half = seen.length / 2;
    expect(seen.slice(half)).toEqual(seen.slice(0, half));
  });

  test("of several at once are those of single steps, to the bit", async () => {
    const seen = [];
    const logProbs: number[][] = [];
    // Each number of sequences is a plan of its own, which a software GPU takes long to compile.
    const together = samplers.slice(0, 2);
    for (const ahead of [false, true]) {
      const engine = await start(name, ahead);
      const sessions: number[] = [];
      for (const from of together.keys()) sessions.push(await begin(engine, from));
      const probe = (await engine.call("fork", { session: sessions[1] ?? -1 })).session;
      const shared = { stopIds: [], keepLogits: true };
      const sampler = samplers[1] ?? greedy;
      const first = await engine.call("generate", {
        session: probe,
        sampler,
        ...shared,
        maxTokens: 7,
      });
      const { branches } = await engine.call("generateMany", {
        sessions,
        samplers: together,
        stopIds: [first.ids[5] ?? -1],
        maxTokens: 12,
        activations: null,
      });
      seen.push(branches.map(({ ids, reason, position }) => ({ ids, reason, position })));
      for (const session of sessions) seen.push(await standOf(engine, session));
      logProbs.push(branches.flatMap((branch) => [...branch.logProbs]));
      await engine.call("unload", {});
    }
    const half = seen.length / 2;
    expect(seen.slice(half)).toEqual(seen.slice(0, half));
    const [stepped = [], ahead = []] = logProbs;
    for (const [at, logProb] of stepped.entries()) expect(ahead[at]).toBeCloseTo(logProb, 4);
  });

  test("that are cancelled leave a session that goes on as if it had been asked for so much", async () => {
    const engine = await start(name, true);
    const [, sampler = greedy] = samplers;
    const session = await begin(engine, 0);
    let told = 0;
    const shared = { sampler, stopIds: [], keepLogits: false };
    const cancelled = await engine.call(
      "generate",
      { session, ...shared, maxTokens: 4000 },
      (reply: EngineReply, id: number) => {
        if (reply.kind === "event" && ++told === 4)
          engine.post({ id: 1000 + id, method: "cancel", input: { target: id } });
      },
    );
    expect(cancelled.reason).toBe("cancelled");
    const again = await begin(engine, 0);
    const asked = { session: again, ...shared, maxTokens: cancelled.ids.length };
    expect((await engine.call("generate", asked)).ids).toEqual(cancelled.ids);
    expect(await standOf(engine, session)).toEqual(await standOf(engine, again));
    await engine.call("unload", {});
  });
});
