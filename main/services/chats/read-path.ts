/**
 * Bringing the engine to the place right behind a message, with as little reading as possible: the live session, else the nearest
 * stored state whose model, tokenizer, position and prefix match, else from the ids alone. Token ids are the truth.
 */
import { createHash } from "node:crypto";
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { MessageRecord, StateInfo } from "../../store/records.ts";
import { hashOfIds, type DocumentReadings } from "../documents/document-readings.ts";
import { readByCuts } from "../documents/read-by-cuts.ts";
import type { Store } from "../../store/store.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { areKnown, knownOnly, wordsMissing } from "./sealed.ts";
import { fits, type StatePlace, type StateService } from "../states/state-service.ts";

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
  /** Ids of the step after it that the session has read, too. */
  readonly ahead: number;
}

/** What states are found by. */
interface ReadContext {
  readonly states: StateService;
  readonly readings: DocumentReadings;
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

/** Where a session stands that has read these steps. */
export function placeOf(steps: readonly Step[]): StatePlace {
  return { position: positionOf(steps), prefixHash: prefixHash(steps) };
}

/**
 * The nearest place on the path that the engine can stand at without reading.
 * A state that turns out to be damaged is left out, removed and told.
 */
export async function findStart(
  { states, readings }: ReadContext,
  model: LoadedModel,
  steps: readonly Step[],
  live: LiveSession | null,
): Promise<Start> {
  const last = steps.at(-1);
  const stored =
    last === undefined ? [] : await states.onPath(last.message.id, model.info.modelHash);
  const liveIndex =
    live?.model === model ? steps.findIndex((step) => step.message.id === live.messageId) : -1;
  for (const state of stored) {
    const index = steps.findIndex((step) => step.message.id === state.owner.id);
    if (index <= liveIndex) break;
    const prefix = steps.slice(0, index + 1);
    if (!fits(state, model, placeOf(prefix))) continue;
    const session = await states.load(model, state, lastIds(prefix));
    if (session !== null) return { session, index, ahead: 0 };
  }
  if (live !== null && liveIndex >= 0) return { session: live.session, index: liveIndex, ahead: 0 };
  const begun = await startInFirst({ states, readings }, model, steps[0]);
  if (begun !== null) return begun;
  const sealed = steps.find(({ ids }) => !areKnown(ids));
  if (sealed !== undefined) throw wordsMissing(sealed.message);
  const { session } = await model.engine.call("create", {});
  return { session, index: -1, ahead: 0 };
}

/** Has the state read from disk that an answer will most likely begin with, while the model is still being loaded. */
export async function readAhead(
  { store, states }: { readonly store: Store; readonly states: StateService },
  messageId: string,
): Promise<void> {
  const [nearest] = await states.onPath(messageId, null);
  if (nearest !== undefined) return states.readAhead(nearest);
  const path = await store.run("pathTo", { messageId });
  const [document, ...others] = path[0]?.documents ?? [];
  if (path[0]?.role !== "document" || document === undefined || others.length > 0) return;
  const read = await states.list({ kind: "document", id: document.id }, null);
  const [furthest] = read
    .filter(({ owner }) => owner.series.startsWith("whole/"))
    .toSorted((a, b) => b.position - a.position);
  if (furthest !== undefined && document.until === null) states.readAhead(furthest);
}

/** The document that a conversation begins with, where it is one alone: what anyone has read of it is kept with it. */
function firstDocument(step: Step | undefined): string | null {
  const [document, ...others] = step?.message.documents ?? [];
  return step?.message.role === "document" && others.length === 0 ? (document?.id ?? null) : null;
}

/** The furthest state that is kept of what the conversation begins with: of its document, or its persona. */
export async function stateInFirst(
  { states, readings }: ReadContext,
  model: LoadedModel,
  step: Step | undefined,
): Promise<StateInfo | null> {
  if (step === undefined) return null;
  const documentId = firstDocument(step);
  if (documentId !== null) return readings.nearest(model, documentId, step.ids);
  const { persona } = step.message;
  if (persona === null) return null;
  const place = placeOf([step]);
  const kept = await states.list({ kind: "persona", id: persona.id }, model.info.modelHash);
  return kept.find((state) => fits(state, model, place)) ?? null;
}

async function startInFirst(
  context: ReadContext,
  model: LoadedModel,
  step: Step | undefined,
): Promise<Start | null> {
  const { states } = context;
  const state = await stateInFirst(context, model, step);
  if (step === undefined || state === null) return null;
  const { position } = state;
  const recent = step.ids.slice(Math.max(position - RECENT_IDS, 0), position);
  const session = await states.load(model, state, recent);
  if (session === null) return null;
  await states.adopt(state, step.message.id);
  return position === step.ids.length
    ? { session, index: 0, ahead: 0 }
    : { session, index: -1, ahead: position };
}

/** Ids that a repetition penalty may look back on; the contract allows it no more. */
const RECENT_IDS = 8192;

/** The last ids of a path, oldest first. */
export function lastIds(steps: readonly Step[]): Int32Array {
  const last: number[] = [];
  for (const { ids } of steps.toReversed()) {
    last.unshift(...knownOnly(ids.subarray(-(RECENT_IDS - last.length))));
    if (last.length === RECENT_IDS) break;
  }
  return Int32Array.from(last);
}

export interface ReadSteps {
  /** Tokens that were run. */
  readonly prefilled: number;
  /** It was stopped on the way; the session then stands between messages. */
  readonly cancelled: boolean;
  /** Stores the state behind the last step, as it was: to be called once, when the answer has begun. */
  readonly keep: () => Promise<unknown>;
}

/** Reports how far reading has come: tokens of this turn. */
export type OnProgress = (done: number, total: number) => void;

/** Reads the steps behind `start`, storing the state behind each document, and taking the one behind the last step. */
export async function readSteps(
  context: ReadContext,
  model: LoadedModel,
  steps: readonly Step[],
  start: Start,
  signal: AbortSignal,
  onProgress: OnProgress,
): Promise<ReadSteps> {
  const { states } = context;
  const total = positionOf(steps.slice(start.index + 1)) - start.ahead;
  let prefilled = 0;
  let keep: ReadSteps["keep"] = async () => undefined;
  for (let index = start.index + 1; index < steps.length; index++) {
    const step = steps[index];
    if (step === undefined || step.ids.length === 0) continue;
    const ahead = index === start.index + 1 ? start.ahead : 0;
    const before = prefilled - ahead;
    const feed = async (from: number, to: number): Promise<number> => {
      const result = await model.engine.call(
        "prefill",
        { session: start.session, ids: step.ids.slice(from, to), chunk: null, logits: "none" },
        {
          signal,
          onEvent: (event) =>
            void (event.type === "progress" && onProgress(before + from + event.done, total)),
        },
      );
      return from + result.prefilled;
    };
    const kept = await readInDocument(context, model, steps, index, ahead, start.session, feed);
    const read = kept ?? (await feed(ahead, step.ids.length));
    prefilled = before + read;
    if (read < step.ids.length || signal.aborted) return { prefilled, cancelled: true, keep };
    onProgress(prefilled, total);
    const isLast = index === steps.length - 1;
    const path = steps.slice(0, index + 1);
    if (kept === null && isLast)
      keep = await states.take(model, start.session, ownerOf(step), placeOf(path));
    else if (kept === null && step.message.role === "document")
      await keepState(states, model, path, start.session);
  }
  return { prefilled, cancelled: false, keep };
}

function ownerOf({ message }: Step) {
  return { kind: "message", id: message.id, series: "" } as const;
}

/**
 * Reads the document that the conversation begins with as everyone reads it, so that others need not.
 * @returns how much of it is read; null where this step is something else
 */
async function readInDocument(
  { states, readings }: ReadContext,
  model: LoadedModel,
  steps: readonly Step[],
  index: number,
  ahead: number,
  session: SessionId,
  feed: (from: number, to: number) => Promise<number>,
): Promise<number | null> {
  const documentId = index === 0 ? firstDocument(steps[0]) : null;
  const isWhole = steps[0]?.message.documents[0]?.until === null;
  if (documentId === null || !isWhole) return null;
  const plan = await readings.planIfThere(model, documentId);
  // Removed, or changed since this conversation began: it goes on as it began.
  if (plan === null || hashOfIds(plan.ids) !== hashOfIds(steps[0]?.ids ?? new Int32Array()))
    return null;
  const exclusively = <T>(job: () => Promise<T>): Promise<T> => job();
  return readByCuts({ states, readings }, model, session, plan, ahead, { feed, exclusively });
}

/** Stores the state behind the last of these steps. @returns its checksum; null where it was not stored */
export async function keepState(
  states: StateService,
  model: LoadedModel,
  steps: readonly Step[],
  session: SessionId,
): Promise<string | null> {
  const last = steps.at(-1);
  if (last === undefined) return null;
  const saved = await states.save(model, session, ownerOf(last), placeOf(steps));
  return saved === null ? null : (model.history.of(session)?.baseHash ?? null);
}
