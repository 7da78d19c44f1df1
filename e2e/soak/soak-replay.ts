/** The uninterrupted run: an engine that does what a derivation says, from an empty session on, and never saves anything. */
import { createHash } from "node:crypto";
import { startNodeEngine } from "../../main/engine/node-host.ts";
import type { ModelFile } from "../../models/engine/protocol.ts";
import type { Derivation, Replay, Step } from "./derivation.ts";

const files: ModelFile[] = JSON.parse(process.argv[2] ?? "[]");
const engine = startNodeEngine();
await engine.call("load", {
  files,
  backend: "wasm",
  quantise: null,
  kvDtype: "f32",
  threads: 1,
});

/** Null where every answer comes out with the same ids and the same bits in its logits, and the state at the end; else where it differs. */
async function differs({ derivation, state }: Replay): Promise<string | null> {
  const { session: first } = await engine.call("create", {});
  const sessions = [first];
  try {
    const difference = await follow(sessions, derivation);
    const session = sessions.at(-1) ?? first;
    if (difference !== null || state === undefined) return difference;
    const { bytes, headBytes } = await engine.call("snapshot", {
      session,
      tokenizerHash: state.tokenizerHash,
      pages: "all",
    });
    const head = createHash("sha256").update(bytes.subarray(0, headBytes)).digest("hex");
    return head === state.head ? null : "the state at its end";
  } finally {
    for (const session of sessions) await engine.call("free", { session });
  }
}

/** @param sessions the one that is followed is the last; others are left behind */
async function follow(sessions: number[], derivation: Derivation): Promise<string | null> {
  for (const [index, step] of derivation.entries()) {
    const session = sessions.at(-1) ?? 0;
    if (step.kind === "read") {
      const ids = Int32Array.from(step.ids);
      await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
      continue;
    }
    if (step.samplers.length > 1) {
      if (!(await writeTogether(sessions, step))) return `ids of step ${index}, in a batch`;
      continue;
    }
    const [sampler] = step.samplers;
    if (sampler === undefined) return `step ${index}: nothing says how it was sampled`;
    const { ids, logits } = await engine.call("generate", {
      session,
      sampler,
      stopIds: [],
      maxTokens: step.ids.length,
      keepLogits: true,
    });
    const bytes = new Uint8Array((logits ?? new Float32Array()).buffer);
    const hash = createHash("sha256").update(bytes).digest("hex");
    if (JSON.stringify([...ids]) !== JSON.stringify(step.ids)) return `ids of step ${index}`;
    if (step.logits !== null && hash !== step.logits) return `logits of step ${index}`;
  }
  return null;
}

/** Writes all answers of the batch, and goes on with the one that is meant. @returns whether its ids are the same */
async function writeTogether(
  sessions: number[],
  { samplers, branch, most, activations, ids }: Extract<Step, { kind: "write" }>,
): Promise<boolean> {
  const session = sessions.at(-1) ?? 0;
  const batch: number[] = [];
  for (const _ of samplers) batch.push((await engine.call("fork", { session })).session);
  sessions.push(...batch);
  const { branches } = await engine.call("generateMany", {
    sessions: batch,
    samplers,
    stopIds: [],
    maxTokens: most,
    activations,
  });
  sessions.push(...sessions.splice(sessions.indexOf(batch[branch] ?? 0), 1));
  return JSON.stringify([...(branches[branch]?.ids ?? [])]) === JSON.stringify(ids);
}

process.on("message", (request: { readonly id: number } & Replay) => {
  differs(request).then(
    (output) => process.send?.({ id: request.id, output }),
    (error: unknown) => process.send?.({ id: request.id, error: String(error) }),
  );
});
process.send?.({ ready: true });
