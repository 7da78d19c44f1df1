/**
 * Answers about documents stand on what the documents say: what is looked up for a question, when there is nothing to answer from,
 * and whether an answer stands in what was read. Pure of the engine but for counting tokens.
 */
import type { Grounds, Passage } from "../../contract/dto.ts";
import type { DocumentReach, MessageRecord, PassageRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import {
  comfortOf,
  findPassages,
  rank,
  type Finding,
  type ReadingComfort,
} from "../documents/search.ts";
import { partOf } from "../documents/runs.ts";
import { isRefusal } from "../documents/languages.ts";
import { isSupported, supportOf } from "../documents/support.ts";
import { isFound, judgeAnswer, refuseBefore } from "../documents/verdict.ts";
import type { LoadedModel } from "../engine/engine-service.ts";

/** What was looked up for the last message of a path. */
export interface Grounding {
  readonly question: string;
  /** Put before the question: none where nothing was found. */
  readonly passages: readonly Passage[];
  /** The whole answer, where there is nothing to ask the model about. */
  readonly refusal: string | null;
  readonly way: Grounds["way"];
  readonly finding: Finding;
  readonly comfort: ReadingComfort;
  /** A document that was read as a whole answers by itself; what it says is looked for in here afterwards. */
  readonly reach: readonly DocumentReach[];
  readonly names: ReadonlyMap<string, string>;
}

/** An answer, checked. */
export interface GroundedAnswer {
  /** In the answer's place; null where it stands. */
  readonly instead: string | null;
  /** The sentence that says so. */
  readonly passages: readonly Passage[];
  readonly grounds: Grounds;
}

/** Null where the last message of the path asks nothing about a document. @param path from the root to the user's message */
export async function groundingOf(
  store: Store,
  model: LoadedModel,
  path: readonly MessageRecord[],
): Promise<Grounding | null> {
  const message = path.at(-1);
  if (message?.role !== "user") return null;
  const documents = new Map(
    path.flatMap((one) => one.documents.map((document) => [document.id, document] as const)),
  );
  if (documents.size === 0) return null;
  const names = new Map([...documents.values()].map(({ id, name }) => [id, name]));
  const whole = new Set(
    path
      .filter((one) => one.role === "document")
      .flatMap((one) => one.documents.map((document) => document.id)),
  );
  const reach = [...documents.values()].map(({ id, until }) => ({ documentId: id, until }));
  const comfort = comfortOf(model.info.parameters);
  const question = message.text;
  const isBroughtAlong = message.documents.length > 0;
  const isAsked = isBroughtAlong || path.at(-2)?.role === "document" || asksSomething(question);
  const common = { question, comfort, names };
  const searched = reach.filter(({ documentId }) => !whole.has(documentId));
  // What was read as a whole is asked from memory, which of a small model's is not enough for what has been named: that is read again.
  if (searched.length === 0 || path.at(-2)?.role === "document") {
    if (!isAsked) return null;
    const asked = { ...common, reach };
    const again = comfort.unit === "sentence" ? await readAgain(store, model, asked) : null;
    const finding: Finding = { passages: [], best: null, missing: [], searchable: false };
    return again ?? { ...asked, finding, passages: [], refusal: null, way: "whole" };
  }
  const finding = await findPassages(store, searched, question, model.wording.countTokens, {
    comfort,
    // A question that comes with a document is about it even where no word of it is found; a later "thank you" is not.
    orBeginning: isBroughtAlong,
  });
  if (!isAsked && !isFound(finding)) return null;
  const refusal = isAsked ? refuseBefore(question, finding, comfort) : null;
  // What has been read for it was found in another way, or before the document was removed.
  if ((refusal !== null || finding.best === null) && message.passages.length > 0) {
    if (!(await isThere(store, searched))) return null;
    const read = message.passages.map((one, ordinal) => ({ ...one, ordinal }));
    const parts: Finding = { passages: read, best: null, missing: [], searchable: true };
    const { passages } = message;
    return { ...common, reach: searched, finding: parts, passages, refusal: null, way: "chunks" };
  }
  const passages = refusal === null ? finding.passages.map((one) => passageOf(one, names)) : [];
  if (refusal === null && passages.length === 0) return null;
  return { ...common, reach: searched, finding, passages, refusal, way: "look-up" };
}

/** The sentences of a document that stands in memory which have the question's words; null where its words tell nothing. */
async function readAgain(
  store: Store,
  model: LoadedModel,
  asked: Pick<Grounding, "question" | "comfort" | "names" | "reach">,
): Promise<Grounding | null> {
  const { question, comfort, names, reach } = asked;
  const { countTokens } = model.wording;
  const options = { comfort, orBeginning: false };
  const finding = await findPassages(store, reach, question, countTokens, options);
  if (isFound(finding)) {
    const passages = finding.passages.map((one) => passageOf(one, names));
    return { ...asked, finding, passages, refusal: null, way: "twice" };
  }
  // Other words may stand for what is asked; for a name nothing does.
  const refusal = finding.missing.length > 0 ? refuseBefore(question, finding, comfort) : null;
  return refusal === null ? null : { ...asked, finding, passages: [], refusal, way: "twice" };
}

/** @param answer the model's; null where it was not asked */
export async function groundAnswer(
  store: Store,
  { question, refusal, way, finding, comfort, reach, names }: Grounding,
  answer: string | null,
): Promise<GroundedAnswer> {
  if (answer === null || refusal !== null)
    return { instead: refusal, passages: [], grounds: { way, origin: "refusal", isFound: false } };
  if (way === "whole") {
    const cited = await sentenceSaying(store, reach, question, answer);
    return {
      instead: null,
      passages: cited === null ? [] : [passageOf(cited, names)],
      grounds: { way, origin: isRefusal(answer) ? "refusal" : "model", isFound: cited !== null },
    };
  }
  const verdict = judgeAnswer(answer, question, finding, comfort);
  if (verdict.origin === "refusal")
    return {
      instead: verdict.text,
      passages: [],
      grounds: { way, origin: "refusal", isFound: false },
    };
  const passages = verdict.cited === null ? [] : [passageOf(verdict.cited, names)];
  const isFoundThere = verdict.cited !== null;
  if (verdict.origin === "quote")
    return {
      instead: verdict.text,
      passages,
      grounds: { way, origin: "quote", isFound: isFoundThere },
    };
  const origin = isRefusal(answer) ? "refusal" : "model";
  return { instead: null, passages, grounds: { way, origin, isFound: isFoundThere } };
}

async function isThere(store: Store, reach: readonly DocumentReach[]): Promise<boolean> {
  for (const { documentId } of reach)
    if ((await store.run("getDocument", { documentId })) !== null) return true;
  return false;
}

/** The sentence of the documents that says what an answer says; null where none does. */
async function sentenceSaying(
  store: Store,
  reach: readonly DocumentReach[],
  question: string,
  answer: string,
): Promise<PassageRecord | null> {
  if (isRefusal(answer)) return null;
  const [best] = await rank(store, reach, `${question} ${answer}`);
  if (best === undefined) return null;
  const { run, sentence } = best;
  const found = partOf(run, sentence.start, sentence.end);
  return isSupported(supportOf(answer, question, found.text)) ? found : null;
}

/** "Thank you" and "my name is Anna" ask nothing of a document. */
function asksSomething(text: string): boolean {
  const words = text
    .trim()
    .replace(/^(?:(?:can|could|would|will) you |please )+/i, "")
    .replace(/^(?:tell|show|give) (?:me|us) /i, "tell ");
  if (/\b(?:I|I'm|me|my|mine|we|our|us|you|your|yours|yourself)\b/i.test(words)) return false;
  return (
    /\?\s*$/.test(words) ||
    /^(?:who|what|when|where|why|how|which|whose|whom|is|are|was|were|does|do|did|has|have|find|quote|list|tell|name|explain|describe|define|complete|continue|look|search|summar)/i.test(
      words,
    )
  );
}

function passageOf(
  { documentId, page, start, end, text }: PassageRecord,
  names: ReadonlyMap<string, string>,
): Passage {
  return { documentId, file: names.get(documentId) ?? "", page, start, end, text };
}
