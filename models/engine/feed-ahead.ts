import type { RunOptions } from "../arch/architecture.ts";
import { isGreedy, type Sampler, type SamplerOptions } from "../generate/sampler.ts";
import { EngineFault } from "./failure.ts";
import type { LoadedModel } from "./loader.ts";
import { advance, type Session } from "./sessions.ts";

/**
 * Feeds a token and those that the sampler's choices let follow, up to `steps` in all or a stop id. `onFollowers` hears of
 * them in their order, some at a time; where it says false, nothing behind these is fed.
 */
export type FeedAhead = (
  session: Session,
  first: number,
  limits: { readonly steps: number; readonly stopIds: readonly number[] },
  onFollowers: (followers: readonly number[]) => Promise<boolean>,
) => Promise<void>;

/** Null where the backend runs steps one by one. @param sampler stands behind what was fed, before and after */
export async function createFeedAhead(
  model: LoadedModel,
  sampler: Sampler,
  options: SamplerOptions,
): Promise<FeedAhead | null> {
  const plan: RunOptions = { logits: "last", phase: "decode" };
  const { runAhead, takesChoices } = await model.plans.get({ batch: 1, length: 1 }, plan);
  if (runAhead === undefined || !(isGreedy(options) || takesChoices)) return null;
  return async (session, first, limits, onFollowers) => {
    const all: number[] = [];
    const choices = isGreedy(options) ? null : [sampler.ahead()];
    const ahead = { ...limits, choices };
    const [logits] = await runAhead(Int32Array.of(first), session.state, ahead, ({ fed }) => {
      // The first is the caller's own.
      const followers = all.length === 0 ? fed.subarray(1) : fed;
      all.push(...fed);
      sampler.took(followers);
      return onFollowers([...followers]);
    });
    if (logits === undefined) throw new EngineFault("internal", "runs ahead gave no logits");
    advance(session, Int32Array.from(all), logits);
  };
}
