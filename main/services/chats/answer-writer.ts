/** An answer while it is written: from token ids to words on the screen and on disk. */
import { TarnError } from "../../contract/errors.ts";
import type { Message } from "../../contract/dto.ts";
import type { Provenance } from "../../contract/provenance.ts";
import type { MessagePatch } from "../../store/records.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { tellMessage, type TurnContext } from "./turn-context.ts";

/** Streamed words are on disk at least so often, in ms. */
const SAVE_EVERY = 900;

/** What the engine says of an answer that has ended. */
export interface EngineAnswer {
  /** Every token that was fed. */
  readonly ids: Int32Array;
  readonly reason: "stop" | "length" | "cancelled";
  readonly decodeMs: number;
}

export interface WrittenAnswer {
  /** The tokens of the message. */
  readonly ids: Int32Array;
  /** What is still to be said of the message; its words are on disk. */
  readonly patch: MessagePatch;
  /** Whether the engine's session stands right behind `ids`: not where it went on past a stop string. */
  readonly exact: boolean;
}

export interface AnswerWriter {
  readonly messageId: string;
  /** A token as it comes. What goes wrong with it is told by `onProblem` and thrown by `end`. */
  push(token: number): void;
  /** True once a stop string was written: further tokens are not taken. */
  isComplete(): boolean;
  /** Tokens that were taken. */
  tokens(): number;
  /** @throws what went wrong with a token or a save */
  end(answer: EngineAnswer, prefilled: number): Promise<WrittenAnswer>;
  /** Ends the saving by the clock; to be called whatever happened. */
  close(): void;
}

/**
 * @param isShown whether words are told as they come; else only once the answer is checked
 * @param onComplete called when a stop string was written
 * @param onProblem called once when a token or a save fails: writing on makes no sense
 */
export function createAnswerWriter(
  { store, events }: Pick<TurnContext, "store" | "events">,
  model: LoadedModel,
  { chatId, messageId }: { readonly chatId: string; readonly messageId: string },
  {
    isShown,
    onComplete,
    onProblem,
  }: { readonly isShown: boolean; onComplete(): void; onProblem(): void },
): AnswerWriter {
  const { tokenizerHash } = model.wording;
  const stream = model.wording.startStream();
  const ids: number[] = [];
  const began = performance.now();
  let text = "";
  let failure: { readonly cause: unknown } | null = null;
  let work: Promise<void> = Promise.resolve();
  let saved = { at: began, tokens: 0 };

  function append(piece: string): void {
    if (piece === "") return;
    if (isShown) events.emit("message.delta", { chatId, messageId, at: text.length, text: piece });
    text += piece;
  }
  async function save(): Promise<void> {
    saved = { at: performance.now(), tokens: ids.length };
    await store.run("updateMessage", {
      messageId,
      patch: { text, tokens: ids.length },
      ids: { tokenizerHash, ids: Int32Array.from(ids) },
    });
  }
  async function take(id: number): Promise<void> {
    if (failure !== null || stream.stopped) return;
    ids.push(id);
    append(await stream.push(id));
    if (stream.stopped) onComplete();
    if (performance.now() - saved.at >= SAVE_EVERY) await save();
  }
  /** One after the other: pieces of text must not overtake each other. */
  function enqueue(job: () => Promise<void>): void {
    work = work.then(job).catch((cause: unknown) => {
      if (failure !== null) return;
      failure = { cause };
      onProblem();
    });
  }
  // Between two tokens nothing would trigger a save: a slow model's words are kept by the clock.
  const clock = setInterval(() => {
    if (ids.length > saved.tokens && performance.now() - saved.at >= SAVE_EVERY) enqueue(save);
  }, SAVE_EVERY);

  return {
    messageId,
    push: (token) => enqueue(() => take(token)),
    isComplete: () => stream.stopped,
    tokens: () => ids.length,
    async end({ ids: fed, reason, decodeMs }, prefilled) {
      await work;
      if (failure !== null) throw failure.cause;
      if (!stream.stopped) append(await stream.end());
      // One answer is stopped at once: the few tokens that came behind belong to it. Of several the others went on.
      const exact = !stream.stopped || reason === "cancelled" || fed.length === ids.length;
      const own = exact ? fed : Int32Array.from(ids);
      await store.run("updateMessage", {
        messageId,
        patch: { text, tokens: own.length },
        ids: { tokenizerHash, ids: own },
      });
      const tokensPerSecond = fed.length > 0 ? fed.length / Math.max(decodeMs / 1000, 1e-3) : null;
      const status = finalStatus(reason, stream.stopped);
      return {
        ids: own,
        exact,
        patch: { status, text, tokens: own.length, prefilled, tokensPerSecond },
      };
    },
    close: () => clearInterval(clock),
  };
}

function finalStatus(reason: EngineAnswer["reason"], stopString: boolean): Message["status"] {
  if (reason === "stop" || stopString) return "done";
  return reason === "length" ? "length" : "stopped";
}

/**
 * Changes a message on disk and tells the UI. A disk that is full even for this is told as a notice.
 * @param provenance of an answer that ends with this
 */
export async function changeMessage(
  context: Pick<TurnContext, "store" | "events">,
  chatId: string,
  messageId: string,
  patch: MessagePatch,
  provenance: Provenance | null = null,
): Promise<void> {
  try {
    await context.store.run("updateMessage", { messageId, patch, ids: null, provenance });
    await tellMessage(context, chatId, messageId, patch);
  } catch (cause) {
    if (!(cause instanceof TarnError) || patch.status !== "failed") throw cause;
    context.events.emit("notice", { kind: "error", text: cause.message });
    await tellMessage(context, chatId, messageId, patch);
  }
}
