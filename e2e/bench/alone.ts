/** What is measured of Tarn alone: several sequences at once, a very long one, a cold start, and where the time goes. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { EngineClient } from "../../main/engine/client.ts";
import { measureFlatness } from "../../main/cli/flatness.ts";
import { refresh } from "../../main/cli/fresh.ts";
import { profileDecode, profilePrefill } from "../../main/cli/profile-table.ts";
import { promptIds, TOKENS_BEFORE_DECODE } from "./engine.ts";
import type { BenchOptions } from "./options.ts";
import type { Figure, KeptProfile } from "./results.ts";
import { summarise } from "./statistics.ts";
import type { SamplerOptions } from "../../models/engine/protocol.ts";
import { drawingSampler, greedySampler } from "../../main/cli/samplers.ts";
import type { TarnEngine } from "./tarn.ts";

/** What a figure says beside where and of which file it is. */
export type Alone = Pick<Figure, "kind" | "measure" | "value" | "detail">;
/** The same of a profile. */
export type AloneProfile = Pick<KeptProfile, "measure" | "tokens" | "bytesPerSecond" | "rows">;

type Plan = Pick<BenchOptions, "decode" | "runs" | "batch" | "sampled" | "flat" | "prompts">;

/** All that the plan asks for, of a loaded model. */
export async function measureAlone(engine: TarnEngine, plan: Plan): Promise<Alone[]> {
  const found: Alone[] = [];
  if (plan.batch !== null) found.push(await measureBatch(engine, plan.batch, plan));
  if (plan.sampled) {
    for (const branches of plan.batch === null ? [1] : [1, plan.batch])
      found.push(await measureSampled(engine, branches, plan));
  }
  if (plan.flat !== null) found.push(...(await measureFlat(engine, plan.flat, plan)));
  return found;
}

/** Branches of one state in one pass, and one of them alone, in turn: tokens a second of all together. */
async function measureBatch(
  { client }: TarnEngine,
  branches: number,
  { decode, runs }: Plan,
): Promise<Alone> {
  const { ours: all, others: one } = await inTurn(client, decode, runs, [
    { branches, sampler: greedySampler },
    { branches: 1, sampler: greedySampler },
  ]);
  return {
    kind: "batch",
    measure: `${branches} branches of one state, decode ${decode}`,
    value: all / one,
    detail: `${all.toFixed(0)} tokens/s together, ${one.toFixed(0)} one alone`,
  };
}

/** Tokens that are drawn, and the likeliest, in turn. */
async function measureSampled(
  { client }: TarnEngine,
  branches: number,
  { decode, runs }: Plan,
): Promise<Alone> {
  const { ours: sampled, others: likeliest } = await inTurn(client, decode, runs, [
    { branches, sampler: drawingSampler },
    { branches, sampler: greedySampler },
  ]);
  const of = branches === 1 ? "" : `${branches} branches of one state, `;
  const { temperature, topP, repetitionPenalty } = drawingSampler;
  return {
    kind: "sampled",
    measure: `${of}decode ${decode}, drawn against likeliest`,
    value: sampled / likeliest,
    detail:
      `${sampled.toFixed(0)} tokens/s drawn (temperature ${temperature}, top-p ${topP}, ` +
      `repetition penalty ${repetitionPenalty}), ${likeliest.toFixed(0)} the likeliest`,
  };
}

/** Some branches of one state that decode, and how they choose. */
interface Decoding {
  readonly branches: number;
  readonly sampler: SamplerOptions;
}

/** Times two ways to decode in turn, behind one untimed run of each: the medians, in tokens a second of all branches. */
async function inTurn(
  client: EngineClient,
  decode: number,
  runs: number,
  [ours, others]: readonly [Decoding, Decoding],
): Promise<{ readonly ours: number; readonly others: number }> {
  const { session: trunk } = await client.call("create", {});
  const ids = Int32Array.from(promptIds(TOKENS_BEFORE_DECODE));
  await client.call("prefill", { session: trunk, ids, chunk: null, logits: "last" });
  const rateOf = async ({ branches, sampler }: Decoding): Promise<number> => {
    const sessions: number[] = [];
    for (let i = 0; i < branches; i++)
      sessions.push((await client.call("fork", { session: trunk })).session);
    const limits = { stopIds: [], maxTokens: decode };
    const start = performance.now();
    if (branches === 1) {
      const [session = 0] = sessions;
      await client.call("generate", { session, sampler, ...limits, keepLogits: false });
    } else {
      const samplers = sessions.map((_, seed) => ({ ...sampler, seed }));
      await client.call("generateMany", { sessions, samplers, ...limits, activations: null });
    }
    const seconds = (performance.now() - start) / 1000;
    for (const session of sessions) await client.call("free", { session });
    return (branches * decode) / seconds;
  };
  const rates: readonly [number[], number[]] = [[], []];
  // Each once untimed before each of its runs: what the other leaves behind, 16 states to be freed or a GPU's clock that fell,
  // is no part of it. One sequence alone seemed a third slower than it is.
  for (let run = 0; run < runs; run++) {
    for (const [decoding, found] of [
      [ours, rates[0]],
      [others, rates[1]],
    ] as const) {
      await rateOf(decoding);
      found.push(await rateOf(decoding));
    }
  }
  await client.call("free", { session: trunk });
  return { ours: summarise(rates[0]).median, others: summarise(rates[1]).median };
}

/** Behind so many tokens against behind 1,000. */
async function measureFlat(engine: TarnEngine, tokens: number, plan: Plan): Promise<Alone[]> {
  const { decode, runs } = plan;
  const some = (length: number): Int32Array => Int32Array.from(promptIds(length));
  const { near, far, speedRatio } = await measureFlatness(
    engine.client,
    engine.model,
    { tokens, decode, runs },
    some,
  );
  const measure = `behind ${far.position} tokens against behind ${near.position}, decode ${decode}`;
  const rates = `${far.tokensPerSecond.toFixed(0)} tokens/s, and ${near.tokensPerSecond.toFixed(0)}`;
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
  return [
    { kind: "flat speed", measure, value: speedRatio, detail: rates },
    {
      kind: "flat memory",
      measure,
      value: Math.max(0, far.engineBytes - near.engineBytes),
      detail: `states and workspace ${mebibytes(near.engineBytes)}, and ${mebibytes(far.engineBytes)}; the whole process grew by ${mebibytes(far.residentBytes - near.residentBytes)}`,
    },
  ];
}

/** Every kernel's time in decode and in the longest prompt. */
export async function profileAlone(engine: TarnEngine, plan: Plan): Promise<AloneProfile[]> {
  const longest = Math.max(...plan.prompts);
  const before = Int32Array.from(promptIds(TOKENS_BEFORE_DECODE));
  const decode = await profileDecode(engine.client, engine.model, before, plan.decode);
  const prefill = await profilePrefill(
    engine.client,
    engine.model,
    Int32Array.from(promptIds(longest)),
  );
  const named = [
    { measure: `decode ${plan.decode}`, profile: decode },
    { measure: `prefill ${longest}`, profile: prefill },
  ];
  return named.flatMap(({ measure, profile }) =>
    profile === null ? [] : [{ measure, ...profile, rows: [...profile.rows] }],
  );
}

const cli = fileURLToPath(new URL("../../out/node/cli.js", import.meta.url));

/**
 * The default model, from the start of a cold process to the first text of an answer: `tarn chat` with one short turn.
 * @throws Error where the program ends without an answer
 */
export async function measureStart(runs: number, threads: number): Promise<Alone> {
  await refresh("node");
  const seconds: number[] = [];
  for (let run = -1; run < runs; run++) {
    const taken = await firstText(threads);
    if (run >= 0) seconds.push(taken); // The first brings the files into memory.
  }
  const { median, min, max } = summarise(seconds);
  return {
    kind: "start",
    measure: "process to first text of tarn chat",
    value: median,
    detail: `${min.toFixed(2)} to ${max.toFixed(2)} s in ${runs} runs`,
  };
}

async function firstText(threads: number): Promise<number> {
  const start = performance.now();
  const args = [cli, "chat", "--backend", "wasm", "--threads", String(threads)];
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaints += text));
  child.stdin.on("error", () => undefined);
  child.stdin.end("Hello, who are you?\n");
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const first = await new Promise<number | null>((resolve) => {
    child.stdout.once("data", () => resolve((performance.now() - start) / 1000));
    void ended.then(() => resolve(null));
  });
  child.kill();
  await ended;
  if (first !== null) return first;
  throw new Error(`tarn chat ended without an answer: ${complaints.trim().split("\n").at(-1)}`);
}
