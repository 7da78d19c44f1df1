/**
 * Which sentences of some passages answer a question best, by its words alone: how many of the telling ones stand in the
 * sentence, the rarer the better, side by side as in the question if possible; words close by count a part.
 */
import type { TextRun } from "./runs.ts";
import { sentencesIn, type Span } from "./sentences.ts";
import { namesOf, stemsOf, type Term } from "./terms.ts";
import { stemsOfValues } from "./values.ts";

/** A sentence, with how well it fits. Offsets are UTF-16 units of the document's text. */
export interface RankedSentence {
  /** What it stands in. */
  readonly run: TextRun;
  readonly sentence: Span;
  /** The sentence, with those around it that hold words of the question which it lacks itself. */
  readonly excerpt: Span;
  readonly score: number;
  /** How much of the question's weight the excerpt holds, 0 to 1. */
  readonly coverage: number;
  /** Names and numbers of the question that stand neither in the sentence nor close to it, with all their words. */
  readonly missing: readonly Term[];
}

/** Sentences before and behind that count as close. */
const CLOSE = 2;
/** What a word is worth that stands close by, beside one in the sentence. */
const CLOSE_SHARE = 0.35;
/** What two words are worth that follow each other as in the question, as a share of the lesser one. */
const PAIR_SHARE = 0.5;
/** A point less for every so many words: of two that hold the same, the shorter one is about it. */
const WORDS_A_POINT = 100;

/** How telling a word is: the inverse document frequency of BM25, of passages. Robertson and Zaragoza 2009, eq. 3.3, kept positive. */
export function inverseFrequency(passages: number, withWord: number): number {
  return Math.log(1 + (passages - withWord + 0.5) / (withWord + 0.5));
}

/**
 * Best first.
 *
 * @param weightOf of a stem, see `inverseFrequency`
 * @param isKnown whether the words of a name stand side by side anywhere: then a part of it can stand for it here ("Obama")
 */
export function rankSentences(
  terms: readonly Term[],
  weightOf: (stem: string) => number,
  isKnown: (name: readonly Term[]) => boolean,
  runs: readonly TextRun[],
): RankedSentence[] {
  const total = terms.reduce((sum, term) => sum + weightOf(term.stem), 0);
  const names = namesOf(terms).map((words) => ({ words, known: isKnown(words) }));
  return (
    runs
      .flatMap((run) => {
        const spans = sentencesIn(run.text);
        const words = spans.map(({ start, end }) => stemsOf(run.text.slice(start, end)));
        const sets = words.map((list, index) => {
          const { start, end } = spans[index] ?? { start: 0, end: 0 };
          return new Set([...list, ...stemsOfValues(run.text.slice(start, end))]);
        });
        return spans.map((span, index): RankedSentence => {
          let [score, covered] = [-(words[index]?.length ?? 0) / WORDS_A_POINT, 0];
          let [first, last] = [index, index];
          for (const term of terms) {
            const weight = weightOf(term.stem);
            const at = nearest(sets, spans, run.text, [term.stem], index);
            if (at === null) continue;
            score += at === index ? weight : weight * CLOSE_SHARE;
            covered += weight;
            // A heading says what it is about without being read again.
            if (Math.abs(at - index) <= CLOSE)
              [first, last] = [Math.min(first, at), Math.max(last, at)];
          }
          score += pairs(terms, words[index] ?? [], weightOf) * PAIR_SHARE;
          return {
            run,
            sentence: shifted(span, run.start),
            excerpt: shifted(
              { start: spans[first]?.start ?? span.start, end: spans[last]?.end ?? span.end },
              run.start,
            ),
            score,
            coverage: total === 0 ? 0 : covered / total,
            missing: names
              .filter(({ words: name, known }) => {
                const stems = name.map(({ stem }) => stem);
                if (known)
                  return stems.every(
                    (stem) => nearest(sets, spans, run.text, [stem], index) === null,
                  );
                return nearest(sets, spans, run.text, stems, index) === null;
              })
              .flatMap(({ words: name }) => name),
          };
        });
      })
      // A sentence without the names that are asked for is about something else, however many other words it has.
      .toSorted((a, b) => a.missing.length - b.missing.length || b.score - a.score)
  );
}

/** The sentence nearest to `index` that has all these words, among those close by and the headings above. */
function nearest(
  sets: readonly ReadonlySet<string>[],
  spans: readonly Span[],
  text: string,
  stems: readonly string[],
  index: number,
): number | null {
  const holds = (set: ReadonlySet<string> | undefined): boolean =>
    set !== undefined && stems.every((stem) => set.has(stem));
  for (let distance = 0; distance <= CLOSE; distance++) {
    if (holds(sets[index - distance])) return index - distance;
    if (holds(sets[index + distance])) return index + distance;
  }
  const heading = sets.findLastIndex(
    (set, at) => at < index && text[spans[at]?.start ?? 0] === "#" && holds(set),
  );
  return heading < 0 ? null : heading;
}

/** The weight of words that follow each other in the sentence as they do in the question; of a pair the lesser word's. */
function pairs(
  terms: readonly Term[],
  words: readonly string[],
  weightOf: (stem: string) => number,
): number {
  let sum = 0;
  for (const [index, { stem }] of terms.entries()) {
    const next = terms[index + 1]?.stem;
    if (next === undefined) break;
    if (words.some((word, at) => word === stem && words[at + 1] === next))
      sum += Math.min(weightOf(stem), weightOf(next));
  }
  return sum;
}

function shifted({ start, end }: Span, by: number): Span {
  return { start: start + by, end: end + by };
}
