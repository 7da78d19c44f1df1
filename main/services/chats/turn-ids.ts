/** The token ids of a turn: kept where this tokenizer has read a message, appended where it is new. */
import type { Passage } from "../../contract/dto.ts";
import type { MessageRecord } from "../../store/records.ts";
import { TarnError } from "../../contract/errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { commonLength, type Wording } from "../engine/wording.ts";
import type { TurnMessage } from "../tokenizer/conversation.ts";
import { askParts } from "./ask-parts.ts";
import { groundingOf } from "./grounding.ts";
import { behindPersona, personaIds } from "../personas/persona-ids.ts";
import type { Step } from "./read-path.ts";
import { isSealed, wordsMissing } from "./sealed.ts";
import { tellMessage, type Turn, type TurnContext } from "./turn-context.ts";

/** UTF-16 units of a document that stand for all of it where only its end counts. */
const LAST_WORDS = 2000;
/** Ids at the ends of two lists that say that what follows them is the same. */
const SAME_END = 64;

/**
 * The path down to the message that is answered, every message with its ids; those that are computed are stored.
 * `firstNew` is the index of the first message that this model's tokenizer had not read; the path's length when there is none.
 * @throws TarnError `not-found` when the answer was deleted meanwhile
 */
export async function idsOfPath(
  context: TurnContext,
  model: LoadedModel,
  turn: Turn,
): Promise<{ readonly steps: Step[]; readonly firstNew: number }> {
  const path = (await context.store.run("pathTo", { messageId: turn.answers[0].messageId })).slice(
    0,
    -1,
  );
  if (path.length === 0)
    throw new TarnError("not-found", "This message was deleted before its turn came.");
  const known = await knownIds(context, model, path);
  const firstNew = path.findIndex((message) => !known.has(message.id));
  const steps = await idsOfMessages(context, model, turn.chatId, path, known);
  return { steps, firstNew: firstNew === -1 ? path.length : firstNew };
}

/** Of the messages of a path, those that this model's tokenizer has read. */
async function knownIds(
  { store }: TurnContext,
  { wording: { tokenizerHash } }: LoadedModel,
  path: readonly MessageRecord[],
): Promise<ReadonlyMap<string, Int32Array>> {
  const last = path.at(-1);
  if (last === undefined) return new Map();
  const rows = await store.run("idsOnPath", { messageId: last.id, tokenizerHash });
  return new Map(
    rows.flatMap(({ messageId, ids }) => (ids === null ? [] : [[messageId, ids] as const])),
  );
}

/**
 * Every message of a path from the root with its ids; those that are computed are stored.
 * @param before what is known of them, where that was looked up already
 */
export async function idsOfMessages(
  context: TurnContext,
  model: LoadedModel,
  chatId: string,
  path: readonly MessageRecord[],
  before: ReadonlyMap<string, Int32Array> | null = null,
): Promise<Step[]> {
  const { store } = context;
  const { tokenizerHash } = model.wording;
  const known = before ?? (await knownIds(context, model, path));
  const steps: Step[] = [];
  for (const [index, message] of path.entries()) {
    const kept = known.get(message.id);
    if (kept !== undefined) {
      steps.push({ message, ids: kept });
      continue;
    }
    if (isSealed(message)) throw wordsMissing(message);
    const passages = await passagesFor(context, model, path.slice(0, index + 1));
    const ids = await idsOf(context, model, steps, { ...message, passages });
    await store.run("updateMessage", {
      messageId: message.id,
      patch: { passages, tokens: ids.length },
      ids: { tokenizerHash, ids },
    });
    await tellMessage(context, chatId, message.id);
    steps.push({ message: { ...message, passages, tokens: ids.length }, ids });
  }
  return steps;
}

/** The ids that a message appends to those of the steps before it. */
async function idsOf(
  context: TurnContext,
  model: LoadedModel,
  steps: readonly Step[],
  message: MessageRecord,
): Promise<Int32Array> {
  const { wording } = model;
  const before = steps.map((step) => step.ids);
  const parts: TurnMessage[] = [];
  const systemPrompt = context.settings.get().systemPrompt.trim();
  if (steps.every((step) => step.message.role === "document") && systemPrompt !== "")
    parts.push({ role: "system", text: systemPrompt });
  switch (message.role) {
    case "assistant":
      return wording.answer(message.text);
    case "system":
      if (message.persona !== null)
        return personaIds(wording, { prompt: message.text, examples: message.persona.examples });
      return wording.opening(before, [...parts, { role: "system", text: message.text }]);
    case "document":
      return (
        (await beginningWith(context, model, steps, message)) ??
        (await behindPersona(steps, async (lead) =>
          wording.opening([], [...lead, ...(await wholeTexts(context, message))]),
        )) ??
        wording.opening(before, [...parts, ...(await wholeTexts(context, message))])
      );
    case "user": {
      const fresh = unread(message.passages, steps);
      if (fresh.length > 0)
        parts.push({ role: "document", text: fresh.map((passage) => passage.text).join("\n\n") });
      const question: TurnMessage = { role: "user", text: message.text };
      const own = [...parts, question];
      const behind = await behindPersona(steps, (lead) => wording.turn([], [...lead, ...own]));
      if (behind !== null) return behind;
      const opened = steps.at(-1);
      if (opened?.message.role !== "document") return wording.turn(before, own);
      return behindDocument(context, wording, before, opened, parts, question);
    }
  }
}

/** Of a conversation that begins with one document its ids are kept with the document; null for any other. */
async function beginningWith(
  context: TurnContext,
  model: LoadedModel,
  steps: readonly Step[],
  { documents: [document, ...others] }: MessageRecord,
): Promise<Int32Array | null> {
  if (steps.length > 0 || document === undefined || others.length > 0) return null;
  return context.readings.idsOf(model, document.id, document.until);
}

/** Without those that an earlier turn put before the model: it remembers them. */
function unread(passages: readonly Passage[], steps: readonly Step[]): Passage[] {
  const key = ({ documentId, start, end }: Passage): string => `${documentId}:${start}:${end}`;
  const asked = steps.filter((step) => step.message.role === "user");
  const read = new Set(asked.flatMap((step) => step.message.passages.map(key)));
  return passages.filter((passage) => !read.has(key(passage)));
}

/**
 * What a question appends to a document that was read as a whole: the turn of both, less what is read. Where the document is not
 * at hand any more, or was read in another form, a stand-in takes its place: only what follows the document counts.
 */
async function behindDocument(
  context: TurnContext,
  wording: Wording,
  before: readonly Int32Array[],
  opened: Step,
  parts: readonly TurnMessage[],
  question: TurnMessage,
): Promise<Int32Array> {
  const history = before.slice(0, -1);
  const texts = await storedTexts(context, opened.message);
  // The document stands before the question: what is read again of it stands behind, and the question again behind that.
  const lead = parts.filter(({ role }) => role !== "document");
  const again = parts.filter(({ role }) => role === "document");
  const asked = again.length === 0 ? [question] : [question, ...again, question];
  const last = lastWords(texts);
  for (const documents of [last, texts, [{ role: "document", text: "-" } as const]]) {
    if (documents === null) continue;
    const read = [...lead, ...documents];
    const opening = documents === texts ? opened.ids : await wording.opening(history, read);
    if (documents === last && !endAlike(opening, opened.ids)) continue;
    const turn = await wording.turn(history, [...read, ...asked]);
    if (commonLength(opening, turn) === opening.length) return turn.slice(opening.length);
  }
  throw new TarnError(
    "internal",
    "This question could not be put behind the document that was read. Nothing was lost; ask it in a new chat.",
  );
}

/** Of a long document: what stands behind it depends on no more, which spares counting its tokens again. */
function lastWords(texts: readonly TurnMessage[] | null): readonly TurnMessage[] | null {
  const [text, ...others] = texts ?? [];
  if (text === undefined || others.length > 0 || text.text.length < 4 * LAST_WORDS) return null;
  const words = text.text.trimEnd().slice(-LAST_WORDS);
  return [{ ...text, text: words.slice(words.search(/\s/)).trimStart() }];
}

function endAlike(a: Int32Array, b: Int32Array): boolean {
  const length = Math.min(SAME_END, a.length, b.length);
  return a.subarray(a.length - length).join() === b.subarray(b.length - length).join();
}

async function wholeTexts(context: TurnContext, message: MessageRecord): Promise<TurnMessage[]> {
  const texts = await storedTexts(context, message);
  if (texts !== null) return texts;
  const name = message.documents.map((document) => document.name).join(", ");
  throw new TarnError(
    "not-found",
    `"${name}" was removed from the documents before it was read. Attach it again.`,
    { name },
  );
}

/** Null when one of the documents was removed. */
async function storedTexts(
  context: TurnContext,
  message: MessageRecord,
): Promise<TurnMessage[] | null> {
  const texts: TurnMessage[] = [];
  for (const document of message.documents) {
    const text = await context.store.run("documentText", { documentId: document.id });
    if (text === null) return null;
    texts.push({ role: "document", text: text.slice(0, document.until ?? text.length) });
  }
  return texts;
}

/** Found passages for a user's message; what was found when the message was first read stays. */
async function passagesFor(
  context: TurnContext,
  model: LoadedModel,
  path: readonly MessageRecord[],
): Promise<MessageRecord["passages"]> {
  const message = path.at(-1);
  if (message === undefined || message.role !== "user" || message.passages.length > 0)
    return message?.passages ?? [];
  const grounding = await groundingOf(context.store, model, path);
  if (grounding === null) return [];
  const { finding, refusal, passages } = grounding;
  // Words may miss what a memory has; names that stand nowhere it does not have either.
  const mayBeKnown = refusal !== null && finding.missing.length === 0;
  return mayBeKnown ? await askParts(context, model, grounding) : passages;
}
