/** An answer outside any chat, for the OpenAI-compatible API: nothing is kept. */
import type { SamplerSettings } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import { fromEngine } from "../engine/engine-errors.ts";
import type { EngineService, LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import type { SettingsService } from "../settings/settings.ts";
import type { TurnMessage } from "../tokenizer/conversation.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";

export interface CompletionMessage {
  readonly role: "system" | "document" | "user" | "assistant";
  readonly text: string;
}

export interface CompletionRequest {
  readonly messages: readonly CompletionMessage[];
  /** From the settings, which heed the model's hints, to what the request asks for. */
  readonly sampler: (settings: SamplerSettings) => SamplerSettings;
  /** Texts that end the answer, beside the model's own. */
  readonly stop: readonly string[];
}

export interface CompletionResult {
  readonly model: string;
  readonly reason: "stop" | "length" | "cancelled";
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** @throws TarnError */
export type Complete = (
  request: CompletionRequest,
  onText: (text: string) => void,
  signal: AbortSignal,
) => Promise<CompletionResult>;

/** @param queue the engine's: chats and completions wait for each other */
export function createComplete(
  engine: EngineService,
  settings: SettingsService,
  queue: Queue,
): Complete {
  return (request, onText, signal) =>
    queue.run("turn", async () => {
      if (signal.aborted)
        throw new TarnError("cancelled", "The request was given up before its turn came.");
      const model = await engine.model();
      const { session } = await model.engine.call("create", {});
      try {
        const sampler = request.sampler(settings.get().sampler);
        return await answer(engine, model, session, { ...request, sampler }, onText, signal);
      } catch (cause) {
        throw fromEngine(cause);
      } finally {
        engine.activity(null);
        await model.engine.call("free", { session });
      }
    });
}

async function answer(
  engine: EngineService,
  model: LoadedModel,
  session: number,
  request: Omit<CompletionRequest, "sampler"> & { readonly sampler: SamplerSettings },
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<CompletionResult> {
  const ids = await promptIds(model, request.messages);
  engine.activity({ phase: "reading", tokensPerSecond: null });
  const read = await model.engine.call(
    "prefill",
    { session, ids, chunk: null, logits: "none" },
    { signal },
  );
  const facts = { model: model.entry.name, promptTokens: ids.length };
  if (read.cancelled) return { ...facts, reason: "cancelled", completionTokens: 0 };

  engine.activity({ phase: "writing", tokensPerSecond: null });
  const stream = model.wording.startStream();
  const stops = new StopStrings(request.stop);
  const enough = new AbortController();
  let ended = false;
  let failure: unknown = null;
  const show = (piece: string): void => {
    if (ended) return;
    const { text, stopped } = stops.push(piece);
    if (text !== "") onText(text);
    ended = stopped || stream.stopped;
    if (ended) enough.abort();
  };
  let work: Promise<void> = Promise.resolve();
  const { maxTokens, ...sampler } = request.sampler;
  const result = await model.engine.call(
    "generate",
    { session, sampler, stopIds: model.wording.stopIds, maxTokens, keepLogits: false },
    {
      signal: AbortSignal.any([signal, enough.signal]),
      onEvent(event) {
        if (event.type !== "token") return;
        work = work
          .then(async () => show(await stream.push(event.token)))
          .catch((cause: unknown) => {
            failure ??= cause;
            enough.abort();
          });
      },
    },
  );
  await work;
  if (failure !== null) throw failure;
  if (!ended) {
    show(await stream.end());
    const rest = stops.flush();
    if (rest !== "" && !ended) onText(rest);
  }
  return { ...facts, reason: ended ? "stop" : result.reason, completionTokens: result.ids.length };
}

/** @throws TarnError `bad-request` when the last message is not the user's */
async function promptIds(
  model: LoadedModel,
  messages: readonly CompletionMessage[],
): Promise<Int32Array> {
  if (messages.at(-1)?.role !== "user")
    throw new TarnError("bad-request", "The last message must be the user's.");
  const pieces: Int32Array[] = [];
  let turn: TurnMessage[] = [];
  for (const { role, text } of messages) {
    if (role === "assistant") {
      if (turn.length > 0) pieces.push(await model.wording.turn(pieces, turn));
      turn = [];
      pieces.push(await model.wording.answer(text));
    } else turn.push({ role, text });
  }
  pieces.push(await model.wording.turn(pieces, turn));
  const ids = new Int32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    ids.set(piece, at);
    at += piece.length;
  }
  return ids;
}
