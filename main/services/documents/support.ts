/** Whether what a model says stands in what it was given: the check behind every citation. */
import { sentencesIn, type Span } from "./sentences.ts";
import { stemsOf, termsOf } from "./terms.ts";

export interface Support {
  /** Of the answer's telling words, the share that stands in the text or in the question, 0 to 1; 0 for an answer without any. */
  readonly share: number;
  /** Names and numbers of the answer that stand in neither: a sign that they are made up. */
  readonly invented: readonly string[];
  /** Whether the answer says anything from the text that the question had not said. */
  readonly tells: boolean;
  /** The sentence of the text that holds most of the answer, by offset; null for a text without sentences. */
  readonly sentence: Span | null;
}

/** Share of the telling words that an answer may be short of: a model inflects, and says "yes". */
const ENOUGH = 0.75;
/** Numbers are read by their digits, and the small ones by their words too. */
const NUMBER_WORDS = new Set(
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion".split(
    " ",
  ),
);

/** @param text what the model was given to answer from */
export function supportOf(answer: string, question: string, text: string): Support {
  const said = termsOf(answer);
  const [asked, given] = [new Set(stemsOf(question)), new Set(stemsOf(text))];
  const known = said.filter(({ stem }) => given.has(stem) || asked.has(stem));
  const capital = /^\P{L}*(\p{Lu}[\p{L}\p{N}]*)/u.exec(answer)?.[1]?.toLowerCase();
  const invented = said.filter(
    ({ word, stem, name }) =>
      // The first word has its capital from its place.
      (name !== null || NUMBER_WORDS.has(word) || (word === capital && said.length === 1)) &&
      !given.has(stem) &&
      !asked.has(stem),
  );
  return {
    share: said.length === 0 ? 0 : known.length / said.length,
    invented: [...invented.map(({ written }) => written), ...inventedCodes(answer, question, text)],
    tells: said.some(({ stem }) => given.has(stem) && !asked.has(stem)),
    sentence: closestSentence(`${question}\n${answer}`, answer, text),
  };
}

/** Numbers, addresses and codes are right to the letter or wrong: "odette.black@example.net" is not Odette Blackwood's. */
function inventedCodes(answer: string, question: string, text: string): string[] {
  const given = codesOf(`${question}\n${text}`);
  return [...codesOf(answer)].filter((code) => !given.has(code));
}

function codesOf(text: string): Set<string> {
  const words = text
    .split(/\s+/)
    .map((word) => word.replaceAll(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, ""));
  return new Set(
    words
      .filter((word) => /\p{N}|\p{L}[@./_:]\p{L}/u.test(word))
      .map((word) => word.toLowerCase().replace(/['’]s$/, "")),
  );
}

/** Whether an answer can be shown as what the text says. */
export function isSupported({ share, invented, tells }: Support): boolean {
  return tells && invented.length === 0 && share >= ENOUGH;
}

/** Telling words of the answer count double: the question's stand in many sentences. */
function closestSentence(both: string, answer: string, text: string): Span | null {
  const [wide, narrow] = [termsOf(both), termsOf(answer)];
  let best: { readonly span: Span; readonly score: number } | null = null;
  for (const span of sentencesIn(text)) {
    const words = new Set(stemsOf(text.slice(span.start, span.end)));
    const score =
      wide.filter(({ stem }) => words.has(stem)).length +
      narrow.filter(({ stem }) => words.has(stem)).length;
    if (best === null || score > best.score) best = { span, score };
  }
  return best?.span ?? null;
}
