import type { EngineClient } from "../engine/client.ts";
import type { ModelInfo, SessionId } from "../../models/engine/protocol.ts";
import { greedySampler } from "./samplers.ts";
import { note } from "./output.ts";

/** Tokens behind which decode is first timed. */
const NEAR = 1000;

/** Ids of one request: a million at once would be four megabytes that count as memory here. */
const PORTION = 8192;

/** Decode near the beginning of a sequence, and far from it. */
export interface Flatness {
  readonly near: Place;
  readonly far: Place;
  /** far.tokensPerSecond / near.tokensPerSecond. */
  readonly speedRatio: number;
}

/** A sequence behind so many tokens. */
export interface Place {
  readonly position: number;
  /** Median of the runs. */
  readonly tokensPerSecond: number;
  /** Of all states and all workspace that the engine holds with nothing but this sequence, bytes. */
  readonly engineBytes: number;
  /** Of the whole process, bytes. */
  readonly residentBytes: number;
}

/**
 * Reads a sequence of `tokens`, keeps a fork of it behind NEAR, and decodes from both in turn, so that a machine that
 * slows down does so for both.
 * @param some makes ids
 */
export async function measureFlatness(
  engine: EngineClient,
  model: ModelInfo,
  {
    tokens,
    decode,
    runs,
  }: { readonly tokens: number; readonly decode: number; readonly runs: number },
  some: (length: number, vocabSize: number) => Int32Array,
): Promise<Flatness> {
  const ids = some(PORTION, model.vocabSize);
  // A plan of each length brings its workspace, wherever a sequence stands: all of them are there before it is looked at.
  await throwAway(engine, [ids, ids.subarray(0, NEAR)]);
  const { session } = await engine.call("create", {});
  const readTo = async (end: number): Promise<void> => {
    let { position } = await read(engine, session, ids.subarray(0, 0));
    while (position < end) {
      ({ position } = await read(engine, session, ids.subarray(0, end - position)));
      if (position % 65_536 < PORTION) note(`${position} of ${end} tokens …`);
    }
  };
  await readTo(NEAR);
  await timeDecode(engine, session, decode);
  const near = await holdings(engine);
  const beginning = (await engine.call("fork", { session })).session;
  // In whole portions: a last piece of another length would be one more plan, with a workspace of its own.
  const end = NEAR + Math.ceil((tokens - NEAR) / PORTION) * PORTION;
  await readTo(end);
  await timeDecode(engine, session, decode);
  const both = await holdings(engine);
  const rates: { readonly near: number[]; readonly far: number[] } = { near: [], far: [] };
  for (let run = 0; run < runs; run++) {
    rates.near.push(await timeDecode(engine, beginning, decode));
    rates.far.push(await timeDecode(engine, session, decode));
  }
  await engine.call("free", { session: beginning });
  const far = { ...(await holdings(engine)), residentBytes: both.residentBytes };
  await engine.call("free", { session });
  const nearRate = median(rates.near);
  const farRate = median(rates.far);
  return {
    near: { position: NEAR, tokensPerSecond: nearRate, ...near },
    far: { position: end, tokensPerSecond: farRate, ...far },
    speedRatio: farRate / nearRate,
  };
}

/** Reads prompts in a sequence of their own. */
async function throwAway(engine: EngineClient, prompts: readonly Int32Array[]): Promise<void> {
  const { session } = await engine.call("create", {});
  for (const ids of prompts) await read(engine, session, ids);
  await engine.call("free", { session });
}

async function read(
  engine: EngineClient,
  session: SessionId,
  ids: Int32Array,
): Promise<{ readonly position: number }> {
  return await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
}

/** Tokens a second of a continuation that is thrown away: the sequence stays where it is. */
async function timeDecode(
  engine: EngineClient,
  from: SessionId,
  maxTokens: number,
): Promise<number> {
  const { session } = await engine.call("fork", { session: from });
  const start = performance.now();
  await engine.call("generate", {
    session,
    sampler: greedySampler,
    stopIds: [],
    maxTokens,
    keepLogits: false,
  });
  const seconds = (performance.now() - start) / 1000;
  await engine.call("free", { session });
  return maxTokens / seconds;
}

async function holdings(
  engine: EngineClient,
): Promise<Pick<Place, "engineBytes" | "residentBytes">> {
  const { states, workspace } = await engine.call("memory", {});
  return { engineBytes: states + workspace, residentBytes: process.memoryUsage().rss };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2;
}
