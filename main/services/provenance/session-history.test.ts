import { expect, test } from "vitest";
import { CHOICE_VERSION } from "../../../models/engine/protocol.ts";
import { createFakeEngine } from "../fake-engine.ts";
import { followSessions } from "./session-history.ts";

const choices = CHOICE_VERSION;
const SAMPLER = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 64,
  seed: 1,
};

function follow() {
  const fake = createFakeEngine();
  fake.answers = [[7, 8, 5]];
  return { fake, ...followSessions(fake.client) };
}

test("follows what is read and written from where a session began, also in forks", async () => {
  const { engine, history } = follow();
  const { session } = await engine.call("create", {});
  const prompt = { session, ids: Int32Array.of(1, 2, 3), chunk: null, logits: "none" } as const;
  await engine.call("prefill", prompt);
  const { session: fork } = await engine.call("fork", { session });
  const rest = { stopIds: [5], maxTokens: 9, keepLogits: false };
  await engine.call("generate", { session, sampler: SAMPLER, ...rest });
  expect(history.of(fork)).toEqual({ baseHash: null, base: 0, position: 3, steps: [{ read: 3 }] });
  expect(history.of(session)).toEqual({
    baseHash: null,
    base: 0,
    position: 6,
    steps: [
      { read: 3 },
      { write: 3, samplers: [SAMPLER], branch: 0, most: 3, choices, activations: "int16" },
    ],
  });
  history.standsAt(session, "a", 6);
  await engine.call("prefill", { ...prompt, ids: Int32Array.of(4) });
  expect(history.of(session)).toEqual({
    baseHash: "a",
    base: 6,
    position: 7,
    steps: [{ read: 1 }],
  });
  await engine.call("free", { session });
  expect(history.of(session)).toBeNull();
});

test("a branch of a batch knows the samplers of all, and how activations were rounded", async () => {
  const { engine, history } = follow();
  const { session } = await engine.call("create", {});
  const { session: other } = await engine.call("fork", { session });
  const samplers = [SAMPLER, { ...SAMPLER, seed: 2 }];
  const sessions = [session, other];
  const activations = "int8";
  const rest = { stopIds: [5], maxTokens: 9, activations } as const;
  await engine.call("generateMany", { sessions, samplers, ...rest });
  const step = { write: 3, samplers, branch: 1, most: 3, choices, activations };
  expect(history.of(other)?.steps).toEqual([step]);
});

test("says nothing of a session whose beginning it does not know, or that a call failed on", async () => {
  const { fake, engine, history } = follow();
  const { session } = await engine.call("create", {});
  const prompt = { session, ids: Int32Array.of(1), chunk: null, logits: "none" } as const;
  fake.failNext = { method: "prefill", code: "kernel" };
  await expect(engine.call("prefill", prompt)).rejects.toThrow("scripted");
  await engine.call("prefill", prompt);
  expect(history.of(session)).toBeNull();
  const { bytes } = await engine.call("snapshot", { session, tokenizerHash: "t", pages: "all" });
  const recent = new Int32Array(0);
  const restored = await engine.call("restore", { bytes, tokenizerHash: "t", recent });
  expect(history.of(restored.session)).toBeNull();
});
