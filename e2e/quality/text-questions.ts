/**
 * Questions by rule about sentences that stand in the text: of the kinds in the default model's card, with the sentence as
 * the answer, or the words of it that the question leaves out.
 */
import type { Random } from "./random.ts";

export interface Sentence {
  readonly text: string;
  /** UTF-16 offset. */
  readonly start: number;
}

export interface TextQuestion {
  readonly kind: "about" | "complete" | "when" | "how many";
  readonly question: string;
  /** The sentence that answers. */
  readonly sentence: Sentence;
  /** The words that a right answer contains; null where that is the sentence. */
  readonly value: string | null;
}

const ABBREVIATION = /\b(?:[A-Z]|Mr|Mrs|Dr|St|Gen|Col|Lt|Gov|No|approx|est|etc|c|ca)\.$/;
const WORDED = /^[A-Z][^;\n]*[.!?]$/;
const CAPITALISED =
  /(?<!^)(?<![.!?] )\b[A-Z][\p{L}'-]+(?: (?:of |the |and )?[A-Z][\p{L}'-]+)+|(?<!^)\b[A-Z][\p{L}]{5,}\b/gu;
const ABOUT = [
  "What does the text say about {x}?",
  "What does the document say about {x}?",
  "Find the sentence about {x}.",
  "Which sentence mentions {x}?",
  "Tell me what it says about {x}.",
  "What is said about {x}?",
];

/** Sentences of 6 to 40 words that are whole and have no semicolon, in order. */
export function sentencesOf(text: string): Sentence[] {
  const sentences: Sentence[] = [];
  for (const paragraph of text.matchAll(/[^\n]+/g)) {
    if (paragraph[0].startsWith("#")) continue;
    let from = 0;
    for (const end of paragraph[0].matchAll(/[.!?]["')]*(?=\s+["'(]?[A-Z0-9]|$)/g)) {
      const to = end.index + end[0].length;
      const piece = paragraph[0].slice(from, to);
      if (ABBREVIATION.test(piece)) continue;
      const trimmed = piece.trimStart();
      const words = trimmed.split(/\s+/).length;
      if (words >= 6 && words <= 40 && WORDED.test(trimmed))
        sentences.push({
          text: trimmed,
          start: paragraph.index + from + piece.length - trimmed.length,
        });
      from = to;
    }
  }
  return sentences;
}

/** One question about one of the sentences, or null where no rule fits any of some that were tried. @param whole the text in which what is asked about must be unique */
export function makeTextQuestion(
  random: Random,
  sentences: readonly Sentence[],
  whole: string,
  used: Set<number>,
): TextQuestion | null {
  const wanted = random.pick(["about", "complete", "when", "how many"] as const);
  for (let tries = 0; tries < 400; tries++) {
    const sentence = random.pick(sentences);
    if (used.has(sentence.start)) continue;
    const made = RULES[wanted](random, sentence, whole);
    if (made === null) continue;
    used.add(sentence.start);
    return { kind: wanted, sentence, ...made };
  }
  return null;
}

/** A name of another text that this one does not have, nor any long word of it; takes it. */
export function absentPhrase(
  random: Random,
  others: readonly Sentence[],
  whole: string,
  taken: Set<string>,
): string {
  const lower = whole.toLowerCase().replaceAll(/\s+/g, " ");
  for (;;) {
    const phrase = phraseOf(random, random.pick(others).text);
    if (phrase === null || taken.has(phrase)) continue;
    const words = phrase.toLowerCase().split(" ");
    // "Red Sea" has only short words, and may well stand there.
    if (lower.includes(words.join(" "))) continue;
    if (words.every((word) => word.length <= 3 || !lower.includes(beginningOf(word)))) {
      taken.add(phrase);
      return phrase;
    }
  }
}

/** "palestinians" → "palestini": whatever the ending. */
function beginningOf(word: string): string {
  return word.slice(0, Math.max(4, word.length - 3));
}

export function askAbout(random: Random, phrase: string): string {
  return random.pick(ABOUT).replace("{x}", phrase);
}

type Rule = (
  random: Random,
  sentence: Sentence,
  whole: string,
) => { readonly question: string; readonly value: string | null } | null;

const RULES: Readonly<Record<TextQuestion["kind"], Rule>> = {
  about(random, { text }, whole) {
    const phrase = phraseOf(random, text);
    if (phrase === null || !occursOnce(whole, phrase)) return null;
    return { question: askAbout(random, phrase), value: null };
  },
  complete(random, { text }, whole) {
    const words = text.split(" ");
    const count = random.integer(5, 8);
    const beginning = words.slice(0, count).join(" ");
    if (words.length < count + 4 || !occursOnce(whole, beginning)) return null;
    return {
      question: `Complete this sentence from the document: ${beginning}`,
      value: words.slice(count).join(" "),
    };
  },
  when(_random, { text }, whole) {
    const found =
      /^(?!He |She |It |They |This |That )([A-Z][^,.;:()]{4,60}?) (was|were) ([^,.;:()]{6,80}?) in (\d{4})\b/.exec(
        text,
      );
    if (found === null) return null;
    const [, subject = "", verb = "", rest = "", year = ""] = found;
    if (!occursOnce(whole, `${subject} ${verb} ${rest}`)) return null;
    return {
      question: `When ${verb} ${subject.replace(/^(The|A|An) /, (article) => article.toLowerCase())} ${rest}?`,
      value: year,
    };
  },
  "how many"(random, { text }, whole) {
    const found =
      /\b(\d{1,3}(?:,\d{3})*|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty) ([a-z]{4,}[a-rt-z]s)\b/.exec(
        text,
      );
    const [, count = "", counted = ""] = found ?? [];
    if (counted === "" || !occursOnce(whole, counted)) return null;
    return {
      question: `How many ${counted} ${random.pick(["are mentioned", "does the text mention"])}?`,
      value: count,
    };
  },
};

function phraseOf(random: Random, sentence: string): string | null {
  const phrases = [...sentence.matchAll(CAPITALISED)].map((match) => match[0]);
  return phrases.length === 0 ? null : random.pick(phrases);
}

function occursOnce(whole: string, part: string): boolean {
  const first = whole.indexOf(part);
  return first >= 0 && whole.indexOf(part, first + 1) < 0;
}
