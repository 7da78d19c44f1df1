import { logProbabilities, logProbability } from "../generate/log-probability.ts";
import { createSampler, isGreedy, type Sampler } from "../generate/sampler.ts";
import { type Batch, batchLimit, inBatch, onCopies, precisionOf } from "./batch.ts";
import { EngineFault } from "./failure.ts";
import type { LoadedModel } from "./loader.ts";
import type { EngineMethods } from "./protocol.ts";
import { checkIds, type RequestContext } from "./run.ts";
import { advance, type Session } from "./sessions.ts";

/** Chunks' worth of rows that a batch of prompts may have: more would cost workspace and gain nothing. */
const MOST_CHUNKS = 4;

/** Logits of a scoring run that may lie in memory at once. */
const SCORE_BYTES = 64 * 2 ** 20;

/** A prompt on its way into a session. */
interface Feeding {
  readonly session: Session;
  readonly ids: Int32Array;
  done: number;
}

/**
 * Feeds ids[i] to sessions[i]. Each prompt is cut as `prefill` cuts it; pieces of one length run together. A cancel
 * ends it behind a chunk: every session then stands behind whole chunks, valid.
 * @throws EngineFault `bad-request` for ids that the model does not have, before anything is run
 */
export async function prefillMany(
  model: LoadedModel,
  sessions: readonly Session[],
  { ids, chunk }: Omit<EngineMethods["prefillMany"]["in"], "sessions">,
  context: RequestContext,
): Promise<EngineMethods["prefillMany"]["out"]> {
  for (const prompt of ids) checkIds(prompt, model.vocabSize);
  const feedings = pair(sessions, ids).map(([session, prompt]): Feeding => ({
    session,
    ids: prompt,
    done: 0,
  }));
  const total = ids.reduce((sum, { length }) => sum + length, 0);
  const size = chunk ?? model.chunk;
  const next = ({ ids: { length }, done }: Feeding): number => Math.min(size, length - done);
  const prefilled = (): number => feedings.reduce((sum, { done }) => sum + done, 0);

  while (!context.signal.aborted) {
    const longest = Math.max(...feedings.map(next));
    if (longest === 0) break;
    const most = Math.max(1, Math.floor((MOST_CHUNKS * model.rowsAtOnce) / longest));
    const limit = Math.min(most, batchLimit(model, sessions, total));
    const group = feedings.filter((feeding) => next(feeding) === longest).slice(0, limit);
    const members = group.map(({ session }) => session);
    await inBatch(model, members, async (batch) => {
      while (!context.signal.aborted && group.every((feeding) => next(feeding) === longest)) {
        const pieces = group.map((fed) => fed.ids.subarray(fed.done, fed.done + longest));
        await feed(batch, members, pieces, "prefill");
        for (const feeding of group) feeding.done += longest;
        context.emit({ type: "progress", done: prefilled(), total });
        if (prefilled() < total) await context.yield();
      }
    });
  }
  return {
    positions: sessions.map(({ position }) => position),
    prefilled: prefilled(),
    cancelled: prefilled() < total,
  };
}

/** An answer on its way. */
interface Branch {
  readonly index: number;
  readonly session: Session;
  readonly sampler: Sampler;
  readonly ids: number[];
  readonly logProbs: number[];
  /** Why it has ended; null while it goes on. */
  reason: "stop" | "length" | "cancelled" | null;
}

/**
 * `generate` for all sessions, a token of each in one run. One that has ended leaves the batch; where there are more
 * sessions than a batch holds, the next one takes its place. Activations are rounded in one way from the first token to the
 * last, however few of the branches are left.
 * @throws EngineFault `bad-request` where there are no logits to sample from, before anything is run
 */
export async function generateMany(
  model: LoadedModel,
  sessions: readonly Session[],
  {
    samplers,
    stopIds,
    maxTokens,
    activations: asked,
  }: Omit<EngineMethods["generateMany"]["in"], "sessions">,
  context: RequestContext,
): Promise<EngineMethods["generateMany"]["out"]> {
  const stops = new Set(stopIds);
  const activations = asked ?? precisionOf(sessions.length);
  const branches = pair(sessions, samplers).map(([session, options], index): Branch => {
    lastLogits(session);
    const sampler = createSampler(options, session.recent);
    const reason = maxTokens === 0 ? "length" : null;
    return { index, session, sampler, ids: [], logProbs: [], reason };
  });
  const limits = { stops, maxTokens, greedy: samplers.every(isGreedy) };
  const start = performance.now();
  for (;;) {
    const open = branches.filter(({ reason }) => reason === null);
    if (open.length === 0) break;
    const live = open.slice(0, batchLimit(model, sessions, maxTokens));
    const members = live.map(({ session }) => session);
    const write = async (batch: Batch): Promise<void> => {
      while (live.every(({ reason }) => reason === null)) {
        if (context.signal.aborted) for (const branch of open) branch.reason = "cancelled";
        else await step(batch, live, limits, context);
      }
    };
    await inBatch(model, members, write, activations);
  }
  return {
    branches: branches.map(({ session: { position }, ids, logProbs, reason }) => ({
      ids: Int32Array.from(ids),
      reason: reason ?? "cancelled",
      position,
      logProbs: Float32Array.from(logProbs),
    })),
    activations,
    decodeMs: performance.now() - start,
  };
}

/** What ends a branch, and whether all take the likeliest tokens. */
interface StepLimits {
  readonly stops: ReadonlySet<number>;
  readonly maxTokens: number;
  readonly greedy: boolean;
}

/** Samples a token of each branch and feeds it, a stop id too; where the backend can, all to the end of one of them. */
async function step(
  batch: Batch,
  live: readonly Branch[],
  limits: StepLimits,
  context: RequestContext,
): Promise<void> {
  const tokens = live.map(({ session, sampler, ids, logProbs, index: branch }) => {
    const logits = lastLogits(session);
    const token = sampler.next(logits);
    logProbs.push(logProbability(logits, token));
    context.emit({ type: "token", token, index: ids.push(token) - 1, branch });
    return Int32Array.of(token);
  });
  if (!(await feedAhead(batch, live, tokens, limits, context))) {
    const members = live.map(({ session }) => session);
    await feed(batch, members, tokens, "decode");
  }
  for (const branch of live) {
    if (limits.stops.has(branch.ids.at(-1) ?? -1)) branch.reason = "stop";
    else if (branch.ids.length === limits.maxTokens) branch.reason = "length";
  }
  await context.yield();
}

/**
 * Feeds the branches' tokens and those that follow by their samplers, until one of the branches has ended or a cancel;
 * false, and nothing done, where the backend cannot.
 */
async function feedAhead(
  batch: Batch,
  live: readonly Branch[],
  tokens: readonly Int32Array[],
  { stops, maxTokens, greedy }: StepLimits,
  context: RequestContext,
): Promise<boolean> {
  const first = Int32Array.from(tokens, ([token = -1]) => token);
  const left = Math.min(...live.map(({ ids }) => maxTokens - ids.length));
  const fedTo = live.map((): number[] => []);
  // Of what each run let follow.
  let next: readonly number[] = [];
  const choices = greedy ? null : live.map(({ sampler }) => sampler.ahead());
  const logits = await batch.runAhead(
    first,
    { steps: left + 1, stopIds: [...stops], choices },
    async ({ fed, logProbs }) => {
      for (let run = 0; run < fed.length / live.length; run++) {
        for (const [b, branch] of live.entries()) {
          const token = fed[run * live.length + b] ?? -1;
          const logProb = next[b];
          fedTo[b]?.push(token);
          // The first is chosen and told already.
          if (logProb === undefined) continue;
          branch.logProbs.push(logProb);
          branch.sampler.took([token]);
          const index = branch.ids.push(token) - 1;
          context.emit({ type: "token", token, index, branch: branch.index });
        }
        next = [...logProbs.subarray(run * live.length, (run + 1) * live.length)];
      }
      await context.yield();
      return !context.signal.aborted;
    },
  );
  if (logits === null) return false;
  for (const [b, { session }] of live.entries()) {
    const own = logits[b];
    if (own === undefined) throw new EngineFault("internal", "runs ahead gave too few logits");
    advance(session, Int32Array.from(fedTo[b] ?? []), own.slice());
  }
  return true;
}

/** Ids on their way through a copy of a session. */
interface Scoring {
  readonly session: Session;
  readonly ids: Int32Array;
  readonly logProbs: number[];
}

/**
 * How likely ids[i] are after sessions[i], a token each; the sessions stay where they are.
 * @throws EngineFault `bad-request` for ids that the model does not have, or a session that was fed nothing
 */
export async function scoreMany(
  model: LoadedModel,
  sessions: readonly Session[],
  ids: readonly Int32Array[],
  context: RequestContext,
): Promise<EngineMethods["scoreMany"]["out"]> {
  for (const continuation of ids) checkIds(continuation, model.vocabSize);
  const scorings = pair(sessions, ids).map(([session, continuation]): Scoring => {
    const [first] = continuation;
    const logits = lastLogits(session);
    const logProbs = first === undefined ? [] : [logProbability(logits, first)];
    return { session, ids: continuation, logProbs };
  });
  const total = ids.reduce((sum, { length }) => sum + length, 0);
  const scored = (): number => scorings.reduce((sum, { logProbs }) => sum + logProbs.length, 0);
  const longest = Math.max(...ids.map(({ length }) => length));
  const limit = batchLimit(model, sessions, longest);
  const waiting = new Set(scorings.filter((scoring) => scoring.ids.length > 1));
  for (const {
    ids: { length },
  } of waiting) {
    if (context.signal.aborted) break;
    const group = [...waiting].filter((other) => other.ids.length === length).slice(0, limit);
    for (const member of group) waiting.delete(member);
    const members = group.map(({ session }) => session);
    await onCopies(model, members, async (batch) => {
      const rows = Math.floor(SCORE_BYTES / (4 * model.vocabSize * group.length));
      const size = Math.max(1, Math.min(rows, model.rowsAtOnce));
      // The last id is not fed: nothing is asked of what comes behind it.
      for (let from = 0; from < length - 1 && !context.signal.aborted; from += size) {
        const to = Math.min(from + size, length - 1);
        const pieces = group.map((member) => member.ids.subarray(from, to));
        const logits = await batch.run(pieces, { logits: "all", phase: "prefill" });
        group.forEach((member, index) => {
          const expected = member.ids.subarray(from + 1, to + 1);
          member.logProbs.push(...logProbabilities(logits[index] ?? new Float32Array(), expected));
        });
        context.emit({ type: "progress", done: scored(), total });
        await context.yield();
      }
    });
  }
  return {
    logProbs: scorings.map(({ logProbs }) => Float32Array.from(logProbs)),
    cancelled: scored() < total,
  };
}

/** Runs the tokens of each session and books them. */
async function feed(
  batch: Batch,
  sessions: readonly Session[],
  ids: readonly Int32Array[],
  phase: "prefill" | "decode",
): Promise<void> {
  const logits = await batch.run(ids, { logits: "last", phase });
  for (const [index, [session, fed]] of pair(sessions, ids).entries()) {
    const last = logits[index];
    if (last !== undefined) advance(session, fed, last);
  }
}

/** @throws EngineFault `bad-request` unless there is one item a session */
function pair<Item>(
  sessions: readonly Session[],
  items: readonly Item[],
): readonly (readonly [Session, Item])[] {
  if (sessions.length !== items.length) {
    throw new EngineFault(
      "bad-request",
      `${sessions.length} sessions need one item each; there are ${items.length}.`,
      { sessions: sessions.length, items: items.length },
    );
  }
  return sessions.flatMap((session, index) => {
    const item = items[index];
    return item === undefined ? [] : [[session, item] as const];
  });
}

/** @throws EngineFault `bad-request` where nothing was fed yet */
function lastLogits(session: Session): Float32Array {
  if (session.logits !== null) return session.logits;
  throw new EngineFault(
    "bad-request",
    `Nothing was fed to session ${session.id} yet, so nothing is known of what comes next.`,
    { session: session.id },
  );
}
