/** What is made of a model's answer about found passages: it stands, a sentence is quoted in its place, or there is none. */
import type { PassageRecord } from "../../store/records.ts";
import { joinPassages, partOf } from "./runs.ts";
import type { Finding, ReadingComfort } from "./search.ts";
import type { RankedSentence } from "./ranking.ts";
import { firstSentence, isRefusal, isRefusing, refusalFor } from "./languages.ts";
import { isSupported, supportOf } from "./support.ts";
import { stemsOf, termsOf, writtenNames, type Term } from "./terms.ts";
import { stemsOfValues } from "./values.ts";
import { repeatedPart } from "./verbatim.ts";

export type Verdict =
  /** The model's words stand. `cited` is the sentence that says the same; null where none does, and that is to be told. */
  | { readonly origin: "model"; readonly cited: PassageRecord | null }
  /** The model's words are not in what it read, and this sentence answers the question by its words. */
  | { readonly origin: "quote"; readonly cited: PassageRecord; readonly text: string }
  /** Nothing in the documents answers. */
  | { readonly origin: "refusal"; readonly text: string };

/** What holds less of the question's weight is about something else. */
const ABOUT_IT = 0.42;
/** A quoted sentence holds at least this much of it. */
const QUOTABLE = 0.5;
/** And this much where the model says that there is no answer. */
const CONTRADICTED = 0.8;

/** Whether the documents have a sentence that the question may be about. */
export function isFound({ best }: Pick<Finding, "best">): boolean {
  return best !== null && best.missing.length === 0 && best.coverage >= ABOUT_IT;
}

/**
 * The words that say so where there is nothing to answer from: the question asks for names or numbers that stand nowhere near
 * each other, or for words that are nowhere. Null where the model is to be asked.
 */
export function refuseBefore(
  question: string,
  { best, missing, searchable }: Finding,
  { unit }: ReadingComfort,
): string | null {
  // A large model may know that what is asked for has another name.
  if (unit === "passage" || !searchable) return null;
  return isFound({ best }) ? null : refusal(question, missing);
}

/** @param finding what the model read */
export function judgeAnswer(
  answer: string,
  question: string,
  { passages, best }: Finding,
  { unit }: ReadingComfort,
): Verdict {
  // A large model says things in its own words, and is right more often when it says that there is nothing.
  const trusted = unit === "passage";
  const quote = trusted || best === null ? null : quoteOf(best, question);
  if (isRefusal(answer)) {
    if (quote !== null && best !== null && best.coverage >= needed(answer, question, quote.cited))
      return quote;
    // A small model mixes up what it was asked for with what it knows: "does not mention the train to Nairobi".
    return !trusted && deniesOther(answer, question)
      ? { origin: "refusal", text: refusal(question, []) }
      : { origin: "model", cited: null };
  }
  const cited = citationFor(answer, question, passages);
  if (trusted) return { origin: "model", cited };
  if (cited === null) return quote ?? { origin: "refusal", text: refusal(question, []) };
  const names = namesIn(question);
  // Something else is said where the names that are asked for stand in another sentence.
  if (quote !== null && !holds(`${answer} ${cited.text}`, names) && holds(quote.cited.text, names))
    return quote;
  const text = repeatedPart(answer, cited.text);
  return text === null ? { origin: "model", cited } : { origin: "quote", cited, text };
}

/** "For 18 years" says in which year as little as a sentence without any number. */
const ASKS_YEAR = /\b(?:which|what) year\b/i;
const YEAR = /\b\d{3,4}\b|\b\d{1,2}\s?(?:AD|BC|CE|BCE)\b/;

/** The best sentence in the answer's place; null where it is about the same names, but nothing else that is asked. */
function quoteOf(
  { run, sentence, excerpt, coverage }: RankedSentence,
  question: string,
): Extract<Verdict, { readonly origin: "quote" }> | null {
  const text = partOf(run, excerpt.start, excerpt.end).text.replaceAll(/\s+/g, " ");
  if (coverage < QUOTABLE || (ASKS_YEAR.test(question) && !YEAR.test(text))) return null;
  // A height or a year says what it is without the word.
  if (!tellsMore(text, question) && !/\p{N}/u.test(text)) return null;
  return { origin: "quote", cited: partOf(run, sentence.start, sentence.end), text };
}

/** How much of the question a sentence must hold to stand against a refusal. */
function needed(answer: string, question: string, { text }: PassageRecord): number {
  const [denied, asked] = [namesIn(answer), namesIn(question)];
  // "… does not mention James Vargas", who was not asked for.
  if (denied.some((name) => !asked.includes(name))) return QUOTABLE;
  // "… does not mention Ada Lind", who stands there, with what is asked of her.
  const isWrong = denied.length > 0 && holds(text, denied) && tellsMore(text, question);
  return isWrong ? QUOTABLE : CONTRADICTED;
}

/** Whether a refusal has telling words that the question has not: what it denies was not asked for, or not in these words. */
function deniesOther(answer: string, question: string): boolean {
  const asked = new Set([...stemsOf(question), ...stemsOfValues(question)]);
  return termsOf(firstSentence(answer)).some(
    ({ word, stem }) => !asked.has(stem) && !isRefusing(word),
  );
}

/** Whether a text has any word of the question beside its names; of a question of nothing but names every text has. */
function tellsMore(text: string, question: string): boolean {
  const others = termsOf(question).filter(({ name }) => name === null);
  const given = new Set([...stemsOf(text), ...stemsOfValues(text)]);
  return others.length === 0 || others.some(({ stem }) => given.has(stem));
}

function namesIn(text: string): string[] {
  return termsOf(text).flatMap(({ name, stem }) => (name === null ? [] : [stem]));
}

function holds(text: string, stems: readonly string[]): boolean {
  const given = new Set(stemsOf(text));
  return stems.every((stem) => given.has(stem));
}

/** The sentence that says what the answer says; null where the answer does not stand in what was read. */
function citationFor(
  answer: string,
  question: string,
  passages: readonly PassageRecord[],
): PassageRecord | null {
  const text = passages.map((passage) => passage.text).join("\n\n");
  if (!isSupported(supportOf(answer, question, text))) return null;
  let best: { readonly passage: PassageRecord; readonly share: number } | null = null;
  for (const passage of passages) {
    const { share, sentence } = supportOf(answer, question, passage.text);
    if (sentence === null || (best !== null && share <= best.share)) continue;
    const [run] = joinPassages([passage]);
    if (run === undefined) continue;
    const [start, end] = [passage.start + sentence.start, passage.start + sentence.end];
    best = { passage: partOf(run, start, end), share };
  }
  return best?.passage ?? null;
}

/** Words that follow each other in the question are one name. @param missing that stand nowhere */
function refusal(question: string, missing: readonly Term[]): string {
  const names = missing.map(({ written }) => written).join(" ");
  return refusalFor(question, names, writtenNames(question));
}
