/**
 * From a question to what the model reads before it: FTS5 with BM25 finds passages, their sentences are ranked by the question's
 * words, and the best are read: as sentences by a small model, as whole passages by one that is at ease with more.
 */
import type { DocumentReach, PassageHit, PassageRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import { inverseFrequency, rankSentences, type RankedSentence } from "./ranking.ts";
import { joinPassages, partOf } from "./runs.ts";
import { namesOf, termsOf, type Term } from "./terms.ts";

/** How much text before a question a model is at ease with. */
export interface ReadingComfort {
  readonly tokens: number;
  /** What is read: single sentences, or the passages that they stand in. */
  readonly unit: "sentence" | "passage";
}

export interface Finding {
  /** What to read, in document order: whole passages, or parts of them. Empty where nothing was found. */
  readonly passages: readonly PassageRecord[];
  /** The sentence that fits best; null where no word of the question was found. */
  readonly best: RankedSentence | null;
  /** Names and numbers of the question that do not stand there, nor close by. */
  readonly missing: readonly Term[];
  /** Whether the question has words that can be looked for. */
  readonly searchable: boolean;
}

/** Below so many parameters a model mixes up what it reads: more sentences, fewer right answers (docs/quality.md). */
const SMALL = 100_000_000;
/** A sentence or passage below this share of the best score is more likely to mislead than to help. */
const WEAK = { sentence: 0.92, passage: 0.45 } as const;
/** With more passages than this the best one's neighbours are left out: every token more makes a model less sure. */
const FEW = 2;
/** Scripts that write no spaces between words: the index has their sentences as one word, so nothing found says nothing. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
/** Passages that are weighed at all. */
const CANDIDATES = 24;
/** Of those, the best whose neighbours are looked at too. */
const NEIGHBOURED = 8;

/** @param parameters of the model that is to read */
export function comfortOf(parameters: number): ReadingComfort {
  return parameters < SMALL ? { tokens: 256, unit: "sentence" } : { tokens: 1100, unit: "passage" };
}

/**
 * The FTS5 expression for a question: its words and names, quoted so that none is read as an operator, any of them.
 * Null when no word is left that could find anything.
 */
export function matchExpression(question: string): string | null {
  const terms = termsOf(question);
  const words = terms.map(({ word }) => `"${word}"`);
  // A whole name counts beside its words: many passages have one of these.
  const names = namesOf(terms)
    .filter((name) => name.length > 1)
    .map((name) => `"${name.map(({ word }) => word).join(" ")}"`);
  return words.length === 0 ? null : [...words, ...names].join(" OR ");
}

/**
 * What to put before the question, within `comfort`, from no more of the documents than `reach` says. Where nothing is found:
 * the beginning of each document if `orBeginning`, else nothing.
 */
export async function findPassages(
  store: Store,
  reach: readonly DocumentReach[],
  question: string,
  countTokens: (text: string) => Promise<number>,
  { comfort, orBeginning }: { readonly comfort: ReadingComfort; readonly orBeginning: boolean },
): Promise<Finding> {
  const terms = termsOf(question);
  const ranked = await rank(store, reach, question);
  const best = ranked[0];
  if (best === undefined) {
    const passages = orBeginning ? await beginnings(store, reach, comfort, countTokens) : [];
    const searchable = terms.length > 0 && !UNSPACED.test(question);
    return { passages, best: null, missing: namesOf(terms).flat(), searchable };
  }
  const wanted =
    comfort.unit === "sentence"
      ? ranked
          .filter(
            ({ score, missing }) =>
              score >= WEAK.sentence * best.score && missing.length === best.missing.length,
          )
          .map(({ run, excerpt }) => partOf(run, excerpt.start, excerpt.end))
      : await wholePassages(store, reach, ranked);
  const passages = inOrder(await withinBudget(wanted, comfort.tokens, countTokens), reach);
  return { passages, best, missing: best.missing, searchable: true };
}

/** Passages for the eye, best first; empty when nothing matches. */
export async function search(
  store: Store,
  reach: readonly DocumentReach[],
  query: string,
  limit: number,
): Promise<PassageHit[]> {
  const match = matchExpression(query);
  if (match === null || reach.length === 0) return [];
  return store.run("searchPassages", { reach, match, limit });
}

/** The sentences of the candidate passages, best first. */
export async function rank(
  store: Store,
  reach: readonly DocumentReach[],
  question: string,
): Promise<RankedSentence[]> {
  const terms = termsOf(question);
  const hits = await search(store, reach, question, CANDIDATES);
  if (hits.length === 0) return [];
  const names = namesOf(terms);
  const { all, matching } = await store.run("countPassages", {
    reach,
    matches: [...terms.map((term) => [term]), ...names].map(
      (words) => `"${words.map(({ word }) => word).join(" ")}"`,
    ),
  });
  const weights = new Map(
    // A word that stands nowhere is no rarer than one that stands once: it may be another word for one that is there.
    terms.map(({ stem }, index) => [
      stem,
      inverseFrequency(all, Math.max(matching[index] ?? 0, 1)),
    ]),
  );
  const known = new Set(names.filter((_, index) => (matching[terms.length + index] ?? 0) > 0));
  return rankSentences(
    terms,
    (stem) => weights.get(stem) ?? 0,
    (name) => [...known].some((one) => one[0]?.stem === name[0]?.stem),
    joinPassages(await withNeighbours(store, reach, hits)),
  );
}

/** The candidates, and the passages before and behind the best of them: a sentence may be about the one before it. */
async function withNeighbours(
  store: Store,
  reach: readonly DocumentReach[],
  hits: readonly PassageRecord[],
): Promise<PassageRecord[]> {
  const around = new Map<string, number[]>();
  for (const { documentId, ordinal } of hits.slice(0, NEIGHBOURED))
    around.set(documentId, [...(around.get(documentId) ?? []), ordinal - 1, ordinal + 1]);
  const passages = [...hits];
  for (const [documentId, ordinals] of around)
    passages.push(...within(await store.run("passagesAt", { documentId, ordinals }), reach));
  return passages;
}

/** The passages of the best sentences, and the neighbours of the best one where they are few. */
async function wholePassages(
  store: Store,
  reach: readonly DocumentReach[],
  ranked: readonly RankedSentence[],
): Promise<PassageRecord[]> {
  const [best] = ranked;
  if (best === undefined) return [];
  const passageOf = ({ run, sentence }: RankedSentence): PassageRecord[] =>
    run.passages.filter(({ start, end }) => start < sentence.end && sentence.start < end);
  const good = ranked.filter(({ score }) => score >= WEAK.passage * best.score);
  const chosen = new Set(good.flatMap(passageOf));
  const first = passageOf(best)[0];
  if (chosen.size > FEW || first === undefined) return [...chosen];
  const ordinals = [first.ordinal + 1, first.ordinal - 1];
  const around = await store.run("passagesAt", { documentId: first.documentId, ordinals });
  return [...chosen, ...within(around, reach)];
}

async function beginnings(
  store: Store,
  reach: readonly DocumentReach[],
  comfort: ReadingComfort,
  countTokens: (text: string) => Promise<number>,
): Promise<PassageRecord[]> {
  const first: PassageRecord[] = [];
  for (const { documentId } of reach)
    first.push(...(await store.run("passagesAt", { documentId, ordinals: [0, 1] })));
  // What a document is about needs more than a sentence.
  const tokens = Math.max(comfort.tokens, 600);
  return inOrder(await withinBudget(within(first, reach), tokens, countTokens), reach);
}

async function withinBudget(
  wanted: readonly PassageRecord[],
  budget: number,
  countTokens: (text: string) => Promise<number>,
): Promise<PassageRecord[]> {
  const chosen: PassageRecord[] = [];
  let left = budget;
  for (const passage of wanted) {
    const covered = chosen.some(
      (one) =>
        one.documentId === passage.documentId && one.start < passage.end && passage.start < one.end,
    );
    if (covered) continue;
    const cost = (await countTokens(passage.text)) + 2;
    // The best one is read whatever it costs: one sentence never is much.
    if (cost > left && chosen.length > 0) continue;
    chosen.push(passage);
    left -= cost;
  }
  return chosen;
}

function within(
  passages: readonly PassageRecord[],
  reach: readonly DocumentReach[],
): PassageRecord[] {
  const until = new Map(reach.map((one) => [one.documentId, one.until ?? Infinity]));
  return passages.filter(({ documentId, end }) => end <= (until.get(documentId) ?? 0));
}

function inOrder(
  passages: readonly PassageRecord[],
  reach: readonly DocumentReach[],
): PassageRecord[] {
  const order = new Map(reach.map(({ documentId }, index) => [documentId, index]));
  return passages.toSorted(
    (a, b) => (order.get(a.documentId) ?? 0) - (order.get(b.documentId) ?? 0) || a.start - b.start,
  );
}
