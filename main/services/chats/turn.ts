/** One turn, its answer or several, from the queue to its last token: ids, reading, writing, and what is saved when. */
import type { EngineEvent, SessionId } from "../../../models/engine/protocol.ts";
import type { SamplerSettings } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { MessagePatch } from "../../store/records.ts";
import { toTarnError } from "../dispatch.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import {
  changeMessage,
  createAnswerWriter,
  type AnswerWriter,
  type EngineAnswer,
} from "./answer-writer.ts";
import {
  findStart,
  keepState,
  readAhead,
  placeOf,
  readSteps,
  type LiveSession,
  type Start,
  type Step,
} from "./read-path.ts";
import { begunAt, provenanceOf, type Begun } from "../provenance/provenance.ts";
import type { Answer, Turn, TurnContext } from "./turn-context.ts";
import { ground, mayBeReplaced, refuse, type WrittenSession } from "./grounded-writing.ts";
import { groundingOf, type Grounding } from "./grounding.ts";
import { idsOfPath } from "./turn-ids.ts";

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
    await changeAll(context, turn, {
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
  const { engine } = context;
  if (engine.ready() === null) await readAhead(context, turn.answers[0].messageId);
  const model = await untilAborted(engine.model(), signal);
  if (model === null) return stopEarly(context, turn, live);
  const { steps, firstNew } = await idsOfPath(context, model, turn);
  const start = await findStart(context, model, steps, live);
  if (live !== null && start.session !== live.session && live.model === model)
    await model.engine.call("free", { session: live.session });
  const { session } = start;
  try {
    const kept = await continueFrom(context, turn, model, steps, firstNew, start, signal);
    return kept === null ? null : { model, messageId: kept.messageId, session: kept.session };
  } catch (cause) {
    // The engine may be gone, and its sessions with it; what went wrong is what counts.
    await model.engine.call("free", { session }).catch(() => undefined);
    throw cause;
  }
}

/**
 * Reads, writes, keeps. The start's session is freed, or is the one that stands behind the answer.
 *
 * @returns the first answer with the session right behind it, where that may be continued
 */
async function continueFrom(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  steps: readonly Step[],
  firstNew: number,
  start: Start,
  signal: AbortSignal,
): Promise<WrittenSession | null> {
  const known = placeOf(steps.slice(0, start.index + 1)).position + start.ahead;
  const begun = begunAt(model.history.of(start.session), known);
  const reading = await read(context, turn, model, steps, firstNew, start, signal);
  const { prefilled, cancelled } = reading;
  if (cancelled) {
    await changeAll(context, turn, { status: "stopped", prefilled });
    await model.engine.call("free", { session: start.session });
    return null;
  }
  let keeping: Promise<unknown> | null = null;
  const keep = (): Promise<unknown> => (keeping ??= reading.keep());
  const path = steps.map((step) => step.message);
  const grounding = await groundingOf(context.store, model, path);
  const { session } = start;
  let answers: readonly WrittenSession[];
  try {
    answers =
      grounding === null || grounding.refusal === null
        ? await write(context, turn, model, session, grounding, prefilled, signal, keep)
        : await refuseAll(context, turn, model, session, grounding, prefilled);
  } finally {
    await keep();
  }
  let continued: WrittenSession | null = null;
  for (const [index, answer] of answers.entries()) {
    const kept = await keepAnswer(context, turn, model, steps, begun, answer);
    if (kept && index === 0) continued = answer;
    else await model.engine.call("free", { session: answer.session });
  }
  return continued;
}

/** Stores the state behind an answer, then says that it is complete. @returns whether the session may be continued */
async function keepAnswer(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  steps: readonly Step[],
  begun: Begun,
  { messageId, session, ids, exact, patch }: WrittenSession,
): Promise<boolean> {
  const message = await context.store.run("getMessage", { messageId });
  // Deleted meanwhile: nothing is left to continue.
  if (message === null) return false;
  const step = { message: { ...message, ...patch }, ids };
  const path = model.history.of(session);
  const stateHash =
    exact && ids.length > 0
      ? await keepState(context.states, model, [...steps, step], session)
      : null;
  const provenance = await provenanceOf(context.store, model, steps, begun, {
    step,
    path,
    stateHash,
  });
  // Only now: who sees the answer complete can rely on its state.
  await changeMessage(context, turn.chatId, messageId, patch, provenance);
  return exact;
}

async function stopEarly(
  context: TurnContext,
  turn: Turn,
  live: LiveSession | null,
): Promise<LiveSession | null> {
  await changeAll(context, turn, { status: "stopped" });
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
  const { events, engine } = context;
  // An answer that a crash cut off has no state yet: reading its few tokens again is nothing to tell.
  const rebuilding = steps
    .slice(start.index + 1, firstNew)
    .some((step) => step.message.role !== "assistant" || step.message.status !== "stopped");
  const phase = rebuilding ? "rebuilding" : "reading";
  const messageId = turn.answers[0].messageId;
  await changeMessage(context, turn.chatId, messageId, { status: "reading" });
  if (rebuilding)
    events.emit("notice", {
      kind: "info",
      text: "The model's memory of this chat is not stored up to here. It is read again from its words; nothing is lost.",
    });
  engine.activity({ phase, tokensPerSecond: null });
  const began = performance.now();
  let told = began;
  const result = await readSteps(context, model, steps, start, signal, (done, total) => {
    const now = performance.now();
    if (now - told < TELL_EVERY && done < total) return;
    told = now;
    const tokensPerSecond = done / Math.max((now - began) / 1000, 1e-3);
    events.emit("message.progress", {
      chatId: turn.chatId,
      messageId,
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

/** An answer on its way: who writes it, and with which session. */
interface Writing {
  readonly answer: Answer;
  readonly writer: AnswerWriter;
  readonly session: SessionId;
}

/** Says in every answer of the turn that the documents do not say. */
async function refuseAll(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  session: SessionId,
  grounding: Grounding,
  prefilled: number,
): Promise<readonly WrittenSession[]> {
  const answers: WrittenSession[] = [];
  for (const { messageId } of turn.answers) {
    const isLast = answers.length === turn.answers.length - 1;
    const own = isLast ? session : (await model.engine.call("fork", { session })).session;
    answers.push(
      await refuse(context, model, turn.chatId, grounding, { messageId, session: own }, prefilled),
    );
  }
  return answers;
}

/** Writes the turn's answers: several in one batch, each from a copy of the session. @param onBegun called with every token */
async function write(
  context: TurnContext,
  turn: Turn,
  model: LoadedModel,
  session: SessionId,
  grounding: Grounding | null,
  prefilled: number,
  signal: AbortSignal,
  onBegun: () => Promise<unknown>,
): Promise<readonly WrittenSession[]> {
  const { engine } = context;
  const stop = new AbortController();
  const ended = AbortSignal.any([signal, stop.signal]);
  const writings: Writing[] = [];
  /** Copies that stand before the answers, one for each that may be replaced. */
  const before: SessionId[] = [];
  const began = performance.now();
  try {
    for (const answer of turn.answers) {
      if (mayBeReplaced(grounding))
        before.push((await model.engine.call("fork", { session })).session);
      const own =
        answer === turn.answers[0]
          ? session
          : (await model.engine.call("fork", { session })).session;
      const { messageId } = answer;
      const writer = createAnswerWriter(
        context,
        model,
        { chatId: turn.chatId, messageId },
        {
          isShown: !mayBeReplaced(grounding),
          onComplete: () => {
            if (writings.every((one) => one.writer.isComplete())) stop.abort();
          },
          onProblem: () => stop.abort(),
        },
      );
      writings.push({ answer, writer, session: own });
    }
    const samplers = writings.map(({ answer }) => answer.sampler());
    for (const [index, { writer }] of writings.entries()) {
      const { temperature, seed } = samplers[index] ?? { temperature: 0, seed: 0 };
      const sampler = { temperature, seed };
      const patch: MessagePatch = { status: "writing", prefilled, sampler };
      await changeMessage(context, turn.chatId, writer.messageId, patch);
    }
    engine.activity({ phase: "writing", tokensPerSecond: null });
    let told = began;
    const onEvent = (event: EngineEvent): void => {
      if (event.type !== "token") return;
      writings[event.branch]?.writer.push(event.token);
      // Whoever waits sees the first word before the disk is busy. What goes wrong is thrown where it is waited for.
      onBegun().catch(() => undefined);
      const now = performance.now();
      if (now - told < 500) return;
      told = now;
      const tokens = writings.reduce((sum, { writer }) => sum + writer.tokens(), 0);
      engine.activity({ phase: "writing", tokensPerSecond: tokens / ((now - began) / 1000) });
    };
    const results = await generateAll(model, writings, samplers, { signal: ended, onEvent });
    const answers: WrittenSession[] = [];
    for (const [index, { writer, session: own }] of writings.entries()) {
      const result = results[index];
      if (result === undefined)
        throw new TarnError("internal", "The engine gave no end to an answer.");
      const written = await writer.end(result, prefilled);
      const answer = { ...written, messageId: writer.messageId, session: own };
      answers.push(
        await ground(context, model, turn.chatId, grounding, before.shift() ?? null, answer),
      );
    }
    return answers;
  } catch (cause) {
    for (const left of [...writings.slice(1).map((one) => one.session), ...before])
      await model.engine.call("free", { session: left }).catch(() => undefined);
    throw cause;
  } finally {
    for (const { writer } of writings) writer.close();
  }
}

async function generateAll(
  model: LoadedModel,
  writings: readonly Writing[],
  samplers: readonly SamplerSettings[],
  options: { readonly signal: AbortSignal; onEvent(event: EngineEvent): void },
): Promise<EngineAnswer[]> {
  const { stopIds } = model.wording;
  const [first] = writings;
  const [sampler] = samplers;
  if (first === undefined || sampler === undefined)
    throw new TarnError("internal", "There is no answer to write.");
  const { maxTokens } = sampler;
  if (writings.length === 1) {
    const { session } = first;
    const input = { session, sampler, stopIds, maxTokens, keepLogits: false };
    return [await model.engine.call("generate", input, options)];
  }
  const { branches, decodeMs } = await model.engine.call(
    "generateMany",
    {
      sessions: writings.map(({ session }) => session),
      samplers,
      stopIds,
      maxTokens,
      activations: null,
    },
    options,
  );
  return branches.map(({ ids, reason }) => ({ ids, reason, decodeMs }));
}

/** The same change on all answers of a turn. */
async function changeAll(context: TurnContext, turn: Turn, patch: MessagePatch): Promise<void> {
  for (const { messageId } of turn.answers)
    await changeMessage(context, turn.chatId, messageId, patch);
}
