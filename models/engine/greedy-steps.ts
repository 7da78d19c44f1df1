import type { GreedyLimits } from "../../kernels/spec/backend.ts";
import type { RunOptions } from "../arch/architecture.ts";
import type { SamplerOptions } from "../generate/sampler.ts";
import { EngineFault } from "./failure.ts";
import type { LoadedModel } from "./loader.ts";
import { advance, type Session } from "./sessions.ts";

/** Whether the next token is always the first of the likeliest. */
export function isGreedy(sampler: SamplerOptions): boolean {
  const { temperature, repetitionPenalty, repetitionWindow } = sampler;
  return temperature === 0 && (repetitionPenalty === 1 || repetitionWindow === 0);
}

/**
 * Feeds a token and those that greedily follow it, up to `limits.steps` in all or a stop id. `onFollowers` hears of them
 * in their order, some at a time; where it says false, nothing behind these is fed.
 */
export type FeedGreedily = (
  session: Session,
  first: number,
  limits: GreedyLimits,
  onFollowers: (followers: readonly number[]) => Promise<boolean>,
) => Promise<void>;

/** Null where the backend runs steps one by one. */
export async function createGreedyFeed(model: LoadedModel): Promise<FeedGreedily | null> {
  const options: RunOptions = { logits: "last", phase: "decode" };
  const { runGreedy } = await model.plans.get({ batch: 1, length: 1 }, options);
  if (runGreedy === undefined) return null;
  return async (session, first, limits, onFollowers) => {
    const all: number[] = [];
    const [logits] = await runGreedy(Int32Array.of(first), session.state, limits, ({ fed }) => {
      // The first is the caller's own.
      const followers = all.length === 0 ? fed.subarray(1) : fed;
      all.push(...fed);
      return onFollowers([...followers]);
    });
    if (logits === undefined) throw new EngineFault("internal", "a greedy run gave no logits");
    advance(session, Int32Array.from(all), logits);
  };
}
