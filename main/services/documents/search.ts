/** From a question to the passages that the model reads: FTS5 with BM25, then as many of the best as its comfort allows. */
import type { PassageHit, PassageRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import { STOP_WORDS } from "./stop-words.ts";

/** Tokens of passages before a question: the default model is at ease up to 1,500 with question and answer. */
export const PASSAGE_TOKENS = 1100;
/** A hit below this share of the best score is more likely to mislead a small model than to help it. */
const WEAK = 0.45;
/** With more hits than this the best one's neighbours are left out: every token more makes a small model less sure. */
const FEW = 2;
/** Hits that are weighed at all. */
const CANDIDATES = 12;

/**
 * The FTS5 expression for a question: its words, quoted so that none is read as an operator, any of them.
 * Null when no word is left that could find anything.
 */
export function matchExpression(question: string): string | null {
  const words = question.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const telling = words.filter(
    (word) => !STOP_WORDS.has(word) && (word.length > 1 || /\p{N}/u.test(word)),
  );
  const chosen = [...new Set(telling)].slice(0, 64);
  return chosen.length === 0 ? null : chosen.map((word) => `"${word}"`).join(" OR ");
}

/**
 * The passages to put before the question, in document order, within `budget` tokens: the best hits, and the neighbours of the
 * best one where hits are few. Where nothing is found: the beginning of each document if `orBeginning`, else none.
 */
export async function findPassages(
  store: Store,
  documentIds: readonly string[],
  question: string,
  countTokens: (text: string) => Promise<number>,
  { budget, orBeginning }: { readonly budget: number; readonly orBeginning: boolean },
): Promise<PassageRecord[]> {
  const hits = await search(store, documentIds, question, CANDIDATES);
  const best = hits[0];
  const wanted: PassageRecord[] = [];
  if (best === undefined) {
    if (!orBeginning) return [];
    for (const documentId of documentIds)
      wanted.push(...(await store.run("passagesAt", { documentId, ordinals: [0, 1] })));
  } else {
    wanted.push(...hits.filter((hit) => hit.score >= WEAK * best.score));
    if (wanted.length <= FEW) {
      const around = [best.ordinal + 1, best.ordinal - 1];
      wanted.push(
        ...(await store.run("passagesAt", { documentId: best.documentId, ordinals: around })),
      );
    }
  }
  const chosen = new Map<string, PassageRecord>();
  let left = budget;
  for (const passage of wanted) {
    const key = `${passage.documentId}:${passage.ordinal}`;
    const cost = (await countTokens(passage.text)) + 2;
    if (chosen.has(key) || cost > left) continue;
    chosen.set(key, passage);
    left -= cost;
  }
  const order = new Map(documentIds.map((documentId, index) => [documentId, index]));
  return [...chosen.values()].toSorted(
    (a, b) =>
      (order.get(a.documentId) ?? 0) - (order.get(b.documentId) ?? 0) || a.ordinal - b.ordinal,
  );
}

/** Best first; empty when nothing matches. */
export async function search(
  store: Store,
  documentIds: readonly string[],
  query: string,
  limit: number,
): Promise<PassageHit[]> {
  const match = matchExpression(query);
  if (match === null || documentIds.length === 0) return [];
  return store.run("searchPassages", { documentIds, match, limit });
}
