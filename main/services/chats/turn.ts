/** One answer, from the queue to its last token: ids, reading, writing, and what is saved when. */
import type { EngineEvent } from "../../../models/engine/protocol.ts";
import type { Message } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { MessagePatch } from "../../store/records.ts";
import { toTarnError } from "../dispatch.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import {
  findStart,
  keepState,
  readSteps,
  type LiveSession,
  type Start,
  type Step,
} from "./read-path.ts";
import { tellMessage, type Turn, type TurnContext } from "./turn-context.ts";
import { idsOfPath } from "./turn-ids.ts";

/** Streamed words are on disk at least so often, in ms. */
const SAVE_EVERY = 900;
/** Failures after which an engine cannot be trusted to go on. */
const LOST: ReadonlySet<string> = new Set(["device-lost", "out-of-memory", "internal"]);
/** Progress is told at most so often, in ms. */
const TELL_EVERY = 150;

/**
 * Runs one turn; everything that goes wrong ends in the message's status and error, never in a rejection.
 * @param live the session that the turn before left in the engine; it is used or freed
 * @returns the session right behind this answer, where there is one
 */
export async function runTurn(
  context: TurnContext,
  turn: Turn,
  live: LiveSession | null,
  signal: AbortSignal,
): Promise<LiveSession | null> {
  try {
    return await answer(context, turn, live, signal);
  } catch (cause) {
    const error = toTarnError(fromEngine(cause));
    await change(context, turn, {
      status: "failed",
      error: { code: error.code, message: error.message },
    });
    if (isEngineError(cause) && LOST.has(cause.code)) void context.engine.restart();
    return null;
  } finally {
    context.engine.activity(null);
  }
}

async function answer(
  context: TurnContext,
  turn: Turn,
  live: LiveSession | null,
  signal: AbortSignal,
): Promise<LiveSession | null> {
  const { states, engine } = context;
  const model = await untilAborted(engine.model(), signal);
  if (model === null) return stopEarly(context, turn, live);
  const { steps, firstNew } = await idsOfPath(context, model, turn);
  const start = await findStart(states, model, steps, live);
  if (live !== null && start.session !== live.session && live.model === model)
    await model.engine.call("free", { session: live.session });
  const { session } = start;
  try {
    const kept = await continueFrom(context, turn, model, steps, firstNew, start, signal);
    if (kept) return { model, messageId: turn.assistantId, session };
  } catch (cause) {
    // The engine may be gone, and its sessions with it; what went wrong is what counts.
    await model.engine.call("free", { session }).catch(() => undefined);
    throw cause;
  }
  await model.engine.call("free", { session });
  return null;
}

/** @returns whether the session stands right behind the answer, and may be continued */
async function continueFrom(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  steps: readonly Step[],
  firstNew: number,
  start: Start,
  signal: AbortSignal,
): Promise<boolean> {
  const { store, states } = context;
  const { prefilled, cancelled } = await read(context, turn, model, steps, firstNew, start, signal);
  if (cancelled) {
    await change(context, turn, { status: "stopped", prefilled });
    return false;
  }
  const written = await write(context, turn, model, start.session, prefilled, signal);
  const assistant = await store.run("getMessage", { messageId: turn.assistantId });
  // Deleted meanwhile: nothing is left to continue.
  if (assistant === null) return false;
  const behind = [...steps, { message: assistant, ids: written.ids }];
  if (written.ids.length > 0) await keepState(states, model, behind, start.session);
  // Only now: who sees the answer complete can rely on its state.
  await change(context, turn, written.patch);
  return true;
}

async function stopEarly(
  context: TurnContext,
  turn: Turn,
  live: LiveSession | null,
): Promise<LiveSession | null> {
  await change(context, turn, { status: "stopped" });
  return live;
}

async function untilAborted(
  model: Promise<LoadedModel>,
  signal: AbortSignal,
): Promise<LoadedModel | null> {
  if (signal.aborted) return null;
  const { promise, resolve } = Promise.withResolvers<null>();
  const stop = (): void => resolve(null);
  signal.addEventListener("abort", stop);
  try {
    return await Promise.race([model, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

async function read(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  steps: readonly Step[],
  firstNew: number,
  start: Start,
  signal: AbortSignal,
) {
  const { states, events, engine } = context;
  // An answer that a crash cut off has no state yet: reading its few tokens again is nothing to tell.
  const rebuilding = steps
    .slice(start.index + 1, firstNew)
    .some((step) => step.message.role !== "assistant" || step.message.status !== "stopped");
  const phase = rebuilding ? "rebuilding" : "reading";
  await change(context, turn, { status: "reading" });
  if (rebuilding)
    events.emit("notice", {
      kind: "info",
      text: "The model's memory of this chat is not stored up to here. It is read again from its words; nothing is lost.",
    });
  engine.activity({ phase, tokensPerSecond: null });
  const began = performance.now();
  let told = began;
  const result = await readSteps(states, model, steps, start, signal, (done, total) => {
    const now = performance.now();
    if (now - told < TELL_EVERY && done < total) return;
    told = now;
    const tokensPerSecond = done / Math.max((now - began) / 1000, 1e-3);
    events.emit("message.progress", {
      chatId: turn.chatId,
      messageId: turn.assistantId,
      done,
      total,
      tokensPerSecond,
      secondsLeft: (total - done) / Math.max(tokensPerSecond, 1e-3),
    });
    engine.activity({ phase, tokensPerSecond });
  });
  if (result.prefilled >= 32)
    engine.measured(result.prefilled / ((performance.now() - began) / 1000));
  return result;
}

interface Written {
  readonly ids: Int32Array;
  readonly patch: MessagePatch;
}

async function write(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  session: number,
  prefilled: number,
  signal: AbortSignal,
): Promise<Written> {
  const { store, events, engine } = context;
  const { assistantId: messageId, chatId } = turn;
  const sampler = turn.sampler();
  const { tokenizerHash } = model.wording;
  await change(context, turn, {
    status: "writing",
    prefilled,
    sampler: { temperature: sampler.temperature, seed: sampler.seed },
  });
  engine.activity({ phase: "writing", tokensPerSecond: null });

  const stream = model.wording.startStream();
  const stop = new AbortController();
  const ids: number[] = [];
  const began = performance.now();
  let text = "";
  let failure: unknown = null;
  let work: Promise<void> = Promise.resolve();
  let saved = { at: began, tokens: 0 };
  let told = began;

  const append = (piece: string): void => {
    if (piece === "") return;
    events.emit("message.delta", { chatId, messageId, at: text.length, text: piece });
    text += piece;
  };
  const save = async (): Promise<void> => {
    saved = { at: performance.now(), tokens: ids.length };
    await store.run("updateMessage", {
      messageId,
      patch: { text, tokens: ids.length },
      ids: { tokenizerHash, ids: Int32Array.from(ids) },
    });
  };
  const take = async (id: number): Promise<void> => {
    if (failure !== null || stream.stopped) return;
    ids.push(id);
    append(await stream.push(id));
    if (stream.stopped) stop.abort();
    const now = performance.now();
    if (now - saved.at >= SAVE_EVERY) await save();
    if (now - told < 500) return;
    told = now;
    engine.activity({ phase: "writing", tokensPerSecond: ids.length / ((now - began) / 1000) });
  };
  const onEvent = (event: EngineEvent): void => {
    if (event.type !== "token") return;
    work = work
      .then(() => take(event.token))
      .catch((cause: unknown) => {
        failure ??= cause;
        stop.abort();
      });
  };
  // Between two tokens nothing would trigger a save: a slow model's words are kept by the clock.
  const clock = setInterval(() => {
    if (ids.length > saved.tokens && performance.now() - saved.at >= SAVE_EVERY) {
      work = work.then(save).catch((cause: unknown) => {
        failure ??= cause;
        stop.abort();
      });
    }
  }, SAVE_EVERY);
  try {
    const { maxTokens, ...options } = sampler;
    const result = await model.engine.call(
      "generate",
      { session, sampler: options, stopIds: model.wording.stopIds, maxTokens, keepLogits: false },
      { signal: AbortSignal.any([signal, stop.signal]), onEvent },
    );
    await work;
    if (failure !== null) throw failure;
    if (!stream.stopped) append(await stream.end());
    const status = finalStatus(result.reason, stream.stopped);
    const tokensPerSecond =
      result.ids.length > 0 ? result.ids.length / Math.max(result.decodeMs / 1000, 1e-3) : null;
    await store.run("updateMessage", {
      messageId,
      patch: { text, tokens: result.ids.length },
      ids: { tokenizerHash, ids: result.ids },
    });
    if (tokensPerSecond !== null) engine.activity({ phase: "writing", tokensPerSecond });
    return {
      ids: result.ids,
      patch: { status, text, tokens: result.ids.length, prefilled, tokensPerSecond },
    };
  } finally {
    clearInterval(clock);
  }
}

function finalStatus(
  reason: "stop" | "length" | "cancelled",
  stopString: boolean,
): Message["status"] {
  if (reason === "stop" || stopString) return "done";
  return reason === "length" ? "length" : "stopped";
}

/** Changes a message on disk and tells the UI. A disk that is full even for this is told as a notice. */
async function change(context: TurnContext, turn: Turn, patch: MessagePatch): Promise<void> {
  try {
    await context.store.run("updateMessage", { messageId: turn.assistantId, patch, ids: null });
    await tellMessage(context, turn.chatId, turn.assistantId, patch);
  } catch (cause) {
    if (!(cause instanceof TarnError) || patch.status !== "failed") throw cause;
    context.events.emit("notice", { kind: "error", text: cause.message });
    await tellMessage(context, turn.chatId, turn.assistantId, patch);
  }
}
