/**
 * Where a question's words find nothing, the memories of all parts of the documents are asked, where they were read: the surest part
 * names the place, and what it says is read again behind the question. Asked first, read second.
 */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { Passage } from "../../contract/dto.ts";
import type { DocumentReach, PassageRecord } from "../../store/records.ts";
import {
  ANSWERING,
  answersFrom,
  gainsOf,
  isSure,
  TOGETHER,
  type ChunkAnswer,
} from "../documents/chunk-answers.ts";
import type { ReadChunk } from "../documents/document-readings.ts";
import { rankSentences } from "../documents/ranking.ts";
import { joinPassages, partOf } from "../documents/runs.ts";
import { termsOf } from "../documents/terms.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Grounding } from "./grounding.ts";
import type { TurnContext } from "./turn-context.ts";

export interface PartsContext {
  readonly store: Pick<TurnContext["store"], "run">;
  readonly states: Pick<TurnContext["states"], "load">;
  readonly readings: Pick<TurnContext["readings"], "chunks">;
}

/** A chunk of a document with its state. */
interface Part {
  readonly documentId: string;
  readonly chunk: ReadChunk;
}

/** The passages that the surest part offers; none where no part is sure, or where they were not read. */
export async function askParts(
  context: PartsContext,
  model: LoadedModel,
  { question, reach, names, comfort }: Grounding,
): Promise<Passage[]> {
  const parts = await partsOf(context, model, reach);
  const known: { readonly part: Part; readonly gain: number }[] = [];
  for (let from = 0; from < parts.length; from += TOGETHER) {
    const group = await load(context, model, parts.slice(from, from + TOGETHER));
    try {
      const sessions = group.map(({ session }) => session);
      const { gains } = await gainsOf(model, sessions, question);
      for (const [index, { part }] of group.entries()) {
        const gain = gains[index] ?? -Infinity;
        if (isSure({ gain })) known.push({ part, gain });
      }
    } finally {
      for (const { session } of group) await model.engine.call("free", { session });
    }
  }
  const likeliest = known.toSorted((a, b) => b.gain - a.gain).slice(0, ANSWERING);
  const answering = await load(
    context,
    model,
    likeliest.map(({ part }) => part),
  );
  let surest: { readonly part: Part; readonly answer: ChunkAnswer } | null = null;
  try {
    const chunks = answering.map(({ part, session }, chunk) => {
      const gain = likeliest.find((one) => one.part === part)?.gain ?? -Infinity;
      return { chunk, session, gain };
    });
    const { answers } = await answersFrom(model, chunks, question);
    const [answer] = answers;
    const part = answer === undefined ? undefined : answering[answer.chunk]?.part;
    if (answer !== undefined && part !== undefined) surest = { part, answer };
  } finally {
    for (const { session } of answering) await model.engine.call("free", { session });
  }
  if (surest === null) return [];
  const { documentId, chunk } = surest.part;
  const text = (await context.store.run("documentText", { documentId })) ?? "";
  const whole: PassageRecord = {
    documentId,
    ordinal: chunk.ordinal,
    page: chunk.page,
    start: chunk.start,
    end: chunk.end,
    text: text.slice(chunk.start, chunk.end),
  };
  const passage =
    comfort.unit === "passage" ? whole : sentenceFor(whole, `${question} ${surest.answer.text}`);
  const file = names.get(documentId) ?? "";
  const { page, start, end } = passage;
  return [{ documentId, file, page, start, end, text: passage.text }];
}

/** Those of the documents that were read, within reach. */
async function partsOf(
  { readings }: Pick<PartsContext, "readings">,
  model: LoadedModel,
  reach: readonly DocumentReach[],
): Promise<Part[]> {
  const parts: Part[] = [];
  for (const { documentId, until } of reach) {
    for (const chunk of await readings.chunks(model, documentId))
      if (chunk.state !== null && chunk.end <= (until ?? Infinity))
        parts.push({ documentId, chunk });
  }
  return parts;
}

async function load(
  { states }: Pick<PartsContext, "states">,
  model: LoadedModel,
  parts: readonly Part[],
): Promise<{ readonly part: Part; readonly session: SessionId }[]> {
  const loaded: { part: Part; session: SessionId }[] = [];
  for (const part of parts) {
    const { state } = part.chunk;
    const session = state === null ? null : await states.load(model, state, new Int32Array(0));
    if (session !== null) loaded.push({ part, session });
  }
  return loaded;
}

/** The sentence of a part that shares the most words with question and answer, with those that belong to it. */
export function sentenceFor(part: PassageRecord, words: string): PassageRecord {
  const [best] = rankSentences(
    termsOf(words),
    () => 1,
    () => true,
    joinPassages([part]),
  );
  return best === undefined ? part : partOf(best.run, best.excerpt.start, best.excerpt.end);
}
