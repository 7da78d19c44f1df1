import type { SessionId } from "../../../models/engine/protocol.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { StateService } from "../states/state-service.ts";
import type { DocumentReadings, ReadingPlan } from "./document-readings.ts";
import { isKept } from "./reading-plan.ts";

/** Work that a power cut may cost, in ms. */
const KEEP_EVERY = 2000;

/** How a reading uses the engine. */
export interface ReadingHands {
  /**
   * Feeds ids[from, to) to the session.
   * @returns where it stands: `to`, or before it at the end of one of the engine's chunks where it was stopped
   */
  feed(from: number, to: number): Promise<number>;
  /** Runs a job that needs the engine for itself. */
  exclusively<T>(job: () => Promise<T>): Promise<T>;
}

/**
 * Reads a document from one of its places to its end, cut by cut, keeping its state on the way.
 *
 * Whoever reads, and wherever it was stopped, ends in the same state: cuts are a function of the document, and from cut to cut the engine
 * runs chunks of constant size, of which a stop leaves no part.
 * @returns where the session stands; the plan's last cut unless it was stopped, and then that place is kept, too
 */
export async function readByCuts(
  { states, readings }: { readonly states: StateService; readonly readings: DocumentReadings },
  model: LoadedModel,
  session: SessionId,
  plan: ReadingPlan,
  from: number,
  { feed, exclusively }: ReadingHands,
): Promise<number> {
  const { cuts } = plan;
  let position = from;
  /** A state that is kept only until there is a later one. */
  let passing: number | null = null;
  let keptAt = performance.now();
  for (const [index, cut] of cuts.entries()) {
    if (cut <= position) continue;
    const before = position;
    position = await feed(position, cut);
    const isStopped = position < cut;
    const isLasting = !isStopped && isKept(index, cuts.length);
    const isWorthIt = isLasting || isStopped || performance.now() - keptAt > KEEP_EVERY;
    if (isWorthIt && position > before) {
      const state = await exclusively(() => readings.keep(model, session, plan, position));
      if (passing !== null && passing !== state) await states.drop(passing);
      passing = isLasting ? null : state;
      keptAt = performance.now();
    }
    if (isStopped) break;
  }
  return position;
}
