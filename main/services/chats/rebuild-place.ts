/** The place that reading a chat again has reached, amid a message: kept as a state, and found again. */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { fits } from "../states/state-service.ts";
import { findStart, lastIds, placeOf, type Start, type Step } from "./read-path.ts";
import type { TurnContext } from "./turn-context.ts";

/** The first `position` ids of the steps: as steps, the last of them cut off; null where there are not so many. */
function stepsTo(steps: readonly Step[], position: number): readonly Step[] | null {
  let left = position;
  for (const [index, { message, ids }] of steps.entries()) {
    if (left <= ids.length)
      return [...steps.slice(0, index), { message, ids: ids.subarray(0, left) }];
    left -= ids.length;
  }
  return null;
}

/** Tokens that a session has read that begins here. */
export function reachedAt(steps: readonly Step[], { index, ahead }: Start): number {
  return steps.slice(0, index + 1).reduce((sum, { ids }) => sum + ids.length, ahead);
}

/** Where to begin: where this reading had come to before, or at a state behind a message, whichever is further. */
export async function startOfRebuild(
  context: TurnContext,
  model: LoadedModel,
  rebuildId: string,
  steps: readonly Step[],
): Promise<Start> {
  const { states } = context;
  const nearest = await findStart(context, model, steps, null);
  const reached = reachedAt(steps, nearest);
  for (const state of await states.list({ kind: "rebuild", id: rebuildId }, model.info.modelHash)) {
    const before = state.position > reached ? stepsTo(steps, state.position) : null;
    if (before === null || !fits(state, model, placeOf(before))) continue;
    const session = await states.load(model, state, lastIds(before));
    if (session === null) continue;
    await model.engine.call("free", { session: nearest.session });
    return { session, index: before.length - 2, ahead: before.at(-1)?.ids.length ?? 0 };
  }
  return nearest;
}

/** Keeps the place where the session stands, in place of the one before. The reading's row is there, and names the message. */
export async function keepReached(
  { store, states }: Pick<TurnContext, "store" | "states">,
  model: LoadedModel,
  rebuildId: string,
  session: SessionId,
  steps: readonly Step[],
  { index, ahead }: Omit<Start, "session">,
): Promise<void> {
  const step = steps[index + 1];
  if (step === undefined || ahead === 0) return;
  const before = [...steps.slice(0, index + 1), { ...step, ids: step.ids.subarray(0, ahead) }];
  const owner = { kind: "rebuild", id: rebuildId, series: "" } as const;
  const kept = await states.save(model, session, owner, placeOf(before));
  if (kept === null) return;
  for (const { id, stateHash } of await states.list(owner, null)) {
    if (id !== kept) await states.drop(id);
    // The way to the states of messages behind this one leads over it, and outlasts the reading.
    else if (stateHash !== null)
      await store.run("adoptDerivations", { stateHash, messageId: step.message.id });
  }
}
