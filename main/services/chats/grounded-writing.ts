/** Answers that the program gives in the model's place: the model has then said them, and its memory goes on from there. */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { MessagePatch } from "../../store/records.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { WrittenAnswer } from "./answer-writer.ts";
import { groundAnswer, type GroundedAnswer, type Grounding } from "./grounding.ts";
import type { TurnContext } from "./turn-context.ts";

/** An answer with the session that wrote it. */
export interface WrittenSession extends WrittenAnswer {
  readonly messageId: string;
  readonly session: SessionId;
}

/** Whether what the model will say may be replaced: it is shown once it is checked, and the session before it is kept. */
export function mayBeReplaced(grounding: Grounding | null): boolean {
  return grounding !== null && grounding.way !== "whole" && grounding.comfort.unit === "sentence";
}

/**
 * Checks an answer against what was read for it. One that does not stand is replaced: `before` is then fed the words that do, and takes
 * the place of the session that wrote the answer. Whichever of the two is not needed any more is freed.
 */
export async function ground(
  context: TurnContext,
  model: LoadedModel,
  chatId: string,
  grounding: Grounding | null,
  before: SessionId | null,
  answer: WrittenSession,
): Promise<WrittenSession> {
  const text = answer.patch.text ?? "";
  // What was stopped or cut short is no answer yet.
  const checked =
    grounding === null || answer.patch.status !== "done"
      ? null
      : await groundAnswer(context.store, grounding, text);
  if (checked === null || checked.instead === null || before === null) {
    if (before !== null) {
      await model.engine.call("free", { session: before });
      context.events.emit("message.delta", { chatId, messageId: answer.messageId, at: 0, text });
    }
    return checked === null
      ? answer
      : { ...answer, patch: { ...answer.patch, ...factsOf(checked) } };
  }
  await model.engine.call("free", { session: answer.session });
  const said = { ...answer.patch, text: checked.instead, ...factsOf(checked) };
  return say(context, model, chatId, { messageId: answer.messageId, session: before }, said);
}

/** The answer where there is nothing to ask the model about. */
export async function refuse(
  context: TurnContext,
  model: LoadedModel,
  chatId: string,
  grounding: Grounding,
  place: Pick<WrittenSession, "messageId" | "session">,
  prefilled: number,
): Promise<WrittenSession> {
  const checked = await groundAnswer(context.store, grounding, null);
  const text = checked.instead ?? "";
  return say(context, model, chatId, place, { text, prefilled, ...factsOf(checked) });
}

/** Feeds these words as the answer; they are on disk when this resolves. */
async function say(
  { store, events }: TurnContext,
  model: LoadedModel,
  chatId: string,
  { messageId, session }: Pick<WrittenSession, "messageId" | "session">,
  patch: MessagePatch & { readonly text: string },
): Promise<WrittenSession> {
  const { tokenizerHash } = model.wording;
  const ids = await model.wording.answer(patch.text);
  await model.engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  events.emit("message.delta", { chatId, messageId, at: 0, text: patch.text });
  const said: MessagePatch = { ...patch, status: "done", tokens: ids.length };
  await store.run("updateMessage", {
    messageId,
    patch: { text: patch.text, tokens: ids.length },
    ids: { tokenizerHash, ids },
  });
  return { messageId, session, ids, exact: true, patch: said };
}

function factsOf({
  passages,
  grounds,
}: GroundedAnswer): Pick<MessagePatch, "passages" | "grounds"> {
  return { passages, grounds };
}
