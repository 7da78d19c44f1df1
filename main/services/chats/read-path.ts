/**
 * Bringing the engine to the place right behind a message, with as little reading as possible: the live session, else the nearest
 * stored state whose model, tokenizer, position and prefix match, else from the ids alone. Token ids are the truth.
 */
import { createHash } from "node:crypto";
import type { SessionId } from "../../../models/engine/protocol.ts";
import { TarnError } from "../../contract/errors.ts";
import type { MessageRecord, StateInfo } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import { isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Events } from "../events.ts";

/** A message on the way from the root, with its ids. */
export interface Step {
  readonly message: MessageRecord;
  readonly ids: Int32Array;
}

/** The session that the last turn left in the engine. */
export interface LiveSession {
  readonly model: LoadedModel;
  readonly messageId: string;
  readonly session: SessionId;
}

/** Where reading begins. */
export interface Start {
  readonly session: SessionId;
  /** Index of the step that the session is right behind; -1 at the beginning. */
  readonly index: number;
}

/** SHA-256 (hex) over the ids of all steps, little-endian i32. */
export function prefixHash(steps: readonly Step[]): string {
  const hash = createHash("sha256");
  for (const { ids } of steps)
    hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
  return hash.digest("hex");
}

function positionOf(steps: readonly Step[]): number {
  return steps.reduce((sum, step) => sum + step.ids.length, 0);
}

/**
 * The nearest place on the path that the engine can stand at without reading.
 * A state that turns out to be damaged or foreign is left out and told; damaged ones are removed.
 */
export async function findStart(
  store: Store,
  events: Events,
  model: LoadedModel,
  steps: readonly Step[],
  live: LiveSession | null,
): Promise<Start> {
  const last = steps.at(-1);
  const stored =
    last === undefined
      ? []
      : await store.run("statesOnPath", {
          messageId: last.message.id,
          modelHash: model.info.modelHash,
        });
  const liveIndex =
    live?.model === model ? steps.findIndex((step) => step.message.id === live.messageId) : -1;
  for (const state of stored) {
    const index = steps.findIndex((step) => step.message.id === state.messageId);
    if (index <= liveIndex) break;
    if (!fits(state, steps.slice(0, index + 1), model)) continue;
    const session = await restore(store, events, model, state, steps.slice(0, index + 1));
    if (session !== null) return { session, index };
  }
  if (live !== null && liveIndex >= 0) return { session: live.session, index: liveIndex };
  const { session } = await model.engine.call("create", {});
  return { session, index: -1 };
}

function fits(state: StateInfo, prefix: readonly Step[], model: LoadedModel): boolean {
  return (
    state.tokenizerHash === model.wording.tokenizerHash &&
    state.position === positionOf(prefix) &&
    state.prefixHash === prefixHash(prefix)
  );
}

async function restore(
  store: Store,
  events: Events,
  model: LoadedModel,
  state: StateInfo,
  prefix: readonly Step[],
): Promise<SessionId | null> {
  const { bytes, damaged } = await store.run("loadState", {
    messageId: state.messageId,
    modelHash: state.modelHash,
    now: Date.now(),
  });
  if (bytes !== null) {
    try {
      const { session, position } = await model.engine.call("restore", {
        bytes,
        tokenizerHash: state.tokenizerHash,
        recent: lastIds(prefix),
      });
      if (position === state.position) return session;
      await model.engine.call("free", { session });
    } catch (cause) {
      if (!isEngineError(cause) || cause.code !== "state") throw cause;
    }
    await store.run("dropState", state);
  }
  if (bytes !== null || damaged) {
    events.emit("notice", {
      kind: "warning",
      text: "The stored memory of this chat was damaged or from another version. Nothing is lost; it is read again from its words.",
    });
  }
  return null;
}

/** Ids that a repetition penalty may look back on; the contract allows it no more. */
const RECENT_IDS = 8192;

/** The last ids of a path, oldest first. */
function lastIds(steps: readonly Step[]): Int32Array {
  const last: number[] = [];
  for (const { ids } of steps.toReversed()) {
    last.unshift(...ids.subarray(-(RECENT_IDS - last.length)));
    if (last.length === RECENT_IDS) break;
  }
  return Int32Array.from(last);
}

/** Reports how far reading has come: tokens of this turn. */
export type OnProgress = (done: number, total: number) => void;

/**
 * Reads the steps behind `start`, storing the state behind each document and behind the last one.
 * @returns tokens run, and whether it was cancelled on the way (the session then stands between messages)
 */
export async function readSteps(
  store: Store,
  events: Events,
  model: LoadedModel,
  steps: readonly Step[],
  start: Start,
  signal: AbortSignal,
  onProgress: OnProgress,
): Promise<{ readonly prefilled: number; readonly cancelled: boolean }> {
  const total = positionOf(steps.slice(start.index + 1));
  let prefilled = 0;
  for (let index = start.index + 1; index < steps.length; index++) {
    const step = steps[index];
    if (step === undefined || step.ids.length === 0) continue;
    const before = prefilled;
    const result = await model.engine.call(
      "prefill",
      { session: start.session, ids: step.ids, chunk: null, logits: "none" },
      {
        signal,
        onEvent: (event) =>
          void (event.type === "progress" && onProgress(before + event.done, total)),
      },
    );
    prefilled += result.prefilled;
    if (result.cancelled || signal.aborted) return { prefilled, cancelled: true };
    onProgress(prefilled, total);
    const isLast = index === steps.length - 1;
    if (isLast || step.message.role === "document")
      await keepState(store, events, model, steps.slice(0, index + 1), start.session);
  }
  return { prefilled, cancelled: false };
}

/** Stores the state behind the last of these steps. A full disk is told, and costs only reading again later. */
export async function keepState(
  store: Store,
  events: Events,
  model: LoadedModel,
  steps: readonly Step[],
  session: SessionId,
): Promise<void> {
  const last = steps.at(-1);
  if (last === undefined) return;
  const { tokenizerHash } = model.wording;
  const { bytes } = await model.engine.call("snapshot", { session, tokenizerHash });
  try {
    await store.run("saveState", {
      messageId: last.message.id,
      modelHash: model.info.modelHash,
      tokenizerHash,
      position: positionOf(steps),
      prefixHash: prefixHash(steps),
      bytes,
      now: Date.now(),
    });
  } catch (cause) {
    if (!(cause instanceof TarnError) || cause.code !== "disk-full") throw cause;
    events.emit("notice", {
      kind: "error",
      text: "The disk is full. Nothing was lost. The words are kept, the model's memory of them is not: it will read this chat again next time. Free some space.",
    });
  }
}
