/**
 * Where a question's words find nothing, the memories of all parts of the documents are asked, where they were read: the surest part
 * names the place, and what it says is read again behind the question. Asked first, read second.
 */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { Passage } from "../../contract/dto.ts";
import type { PassageRecord } from "../../store/records.ts";
import { askChunks, isSure, type ChunkAnswer } from "../documents/chunk-answers.ts";
import type { ReadChunk } from "../documents/document-readings.ts";
import { rankSentences } from "../documents/ranking.ts";
import { joinPassages, partOf } from "../documents/runs.ts";
import { termsOf } from "../documents/terms.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Grounding } from "./grounding.ts";
import type { TurnContext } from "./turn-context.ts";

/** Parts that are asked in one batch: so many states lie in memory. */
const TOGETHER = 16;

export interface PartsContext {
  readonly store: Pick<TurnContext["store"], "run">;
  readonly states: Pick<TurnContext["states"], "load">;
  readonly readings: Pick<TurnContext["readings"], "chunks">;
}

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
  const parts: Part[] = [];
  for (const { documentId, until } of reach) {
    for (const chunk of await context.readings.chunks(model, documentId))
      if (chunk.state !== null && chunk.end <= (until ?? Infinity))
        parts.push({ documentId, chunk });
  }
  let surest: { readonly part: Part; readonly answer: ChunkAnswer } | null = null;
  for (let from = 0; from < parts.length; from += TOGETHER) {
    const group = await load(context, model, parts.slice(from, from + TOGETHER));
    try {
      const sessions = group.map(({ session }) => session);
      const { answers } = await askChunks(model, sessions, question);
      const [answer] = answers;
      const part = group[answer?.chunk ?? 0]?.part;
      if (answer === undefined || part === undefined || !isSure(answer)) continue;
      if (surest === null || answer.confidence > surest.answer.confidence)
        surest = { part, answer };
    } finally {
      for (const { session } of group) await model.engine.call("free", { session });
    }
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
