import type { RunOptions } from "../arch/architecture.ts";
import type { SamplerOptions } from "../generate/sampler.ts";
import type { LoadedModel } from "./loader.ts";
import { advance, type Session } from "./sessions.ts";

/** How long steps may stay enqueued, in ms: tokens still arrive as they do one by one, and a cancel is heeded soon. */
const ENQUEUED_MS = 24;
/** Steps enqueued at most: beyond these the way through host memory costs nothing any more. */
const MOST_STEPS = 32;

/** Whether the next token is always the first of the likeliest. */
export function isGreedy(sampler: SamplerOptions): boolean {
  const { temperature, repetitionPenalty, repetitionWindow } = sampler;
  return temperature === 0 && (repetitionPenalty === 1 || repetitionWindow === 0);
}

/** Feeds a token and those that greedily follow it; gives all that were fed, ending at a stop id or `most`. */
export type FeedGreedily = (
  session: Session,
  first: number,
  most: number,
) => Promise<readonly number[]>;

/** A feeder that learns how many steps fit into `ENQUEUED_MS`; null where the backend runs steps one by one. */
export async function createGreedyFeed(
  model: LoadedModel,
  stopIds: readonly number[],
): Promise<FeedGreedily | null> {
  const options: RunOptions = { logits: "last", phase: "decode" };
  const { runGreedy } = await model.plans.get({ batch: 1, length: 1 }, options);
  if (runGreedy === undefined) return null;
  let steps = 1;
  return async (session, first, most) => {
    const start = performance.now();
    const { fed, outputs } = await runGreedy(Int32Array.of(first), session.state, {
      steps: Math.min(steps, most),
      stopIds,
    });
    const msPerStep = (performance.now() - start) / fed.length;
    // Never more than twice as many as before: the first runs, slow or quick, say little.
    steps = Math.max(1, Math.min(2 * steps, MOST_STEPS, Math.floor(ENQUEUED_MS / msPerStep)));
    const [logits] = outputs;
    if (logits === undefined) throw new Error("a greedy run gave no logits");
    advance(session, fed, logits);
    return [...fed];
  };
}
