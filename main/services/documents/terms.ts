/** What a question asks about, as words that can be looked for: without small words and endings. */
import { isSmallWord, languageOf } from "./languages.ts";

export interface Term {
  /** As it was asked. */
  readonly written: string;
  /** In lower case, without accents. */
  readonly word: string;
  /** Without its ending; what words are compared by. */
  readonly stem: string;
  /** A name or number: a text without it does not answer. Words of one name have the same number here; null for other words. */
  readonly name: number | null;
}

/** Terms that are weighed at most; a pasted page is no question. */
const MOST = 64;
/** "How long …" asks for a measure; the answer need not say "long". */
const MEASURED = /\bhow\s+$/i;
const MEASURES = new Set(
  "long high tall deep wide big large old far fast heavy often soon late early hot cold".split(" "),
);
const WORD = /[\p{L}\p{N}]+/gu;

/** The telling words of a question, each stem once, in their order. */
export function termsOf(question: string): Term[] {
  const words = [...question.matchAll(WORD)];
  const language = languageOf(question);
  // Where every word has a capital, a capital tells nothing.
  const titled = words.length > 3 && words.every(([word]) => /^[\p{Lu}\p{N}]/u.test(word));
  const terms = new Map<string, Term>();
  let [name, nameEnd] = [0, -1];
  for (const { 0: written, index } of words) {
    const word = plain(written);
    if (isSmallWord(word, language) || (word.length < 2 && !/\p{N}/u.test(word))) continue;
    const before = question.slice(0, index);
    if (MEASURES.has(word) && MEASURED.test(before)) continue;
    const isName =
      /\p{N}/u.test(word) ||
      (!titled &&
        /^\p{Lu}/u.test(written) &&
        (language === "de"
          ? // Every noun has a capital: two side by side are a name.
            isBesideCapital(question, index, index + written.length)
          : /[\p{L}\p{N},;]["'“”‘’(]?\s*$/u.test(before)));
    if (isName && !/^[ \t\u00a0-]$/u.test(question.slice(nameEnd, index))) name++;
    if (isName) nameEnd = index + written.length;
    const stem = stemOf(word);
    const known = terms.get(stem);
    if (known === undefined || (isName && known.name === null))
      terms.set(stem, { written, word, stem, name: isName ? name : null });
    if (terms.size === MOST) break;
  }
  return [...terms.values()];
}

function isBesideCapital(text: string, start: number, end: number): boolean {
  const before = /(\p{Lu}[\p{L}\p{N}]*) $/u.exec(text.slice(0, start))?.[1];
  const isFirst =
    before !== undefined && /^\P{L}*$/u.test(text.slice(0, start - before.length - 1));
  return (before !== undefined && !isFirst) || /^ \p{Lu}/u.test(text.slice(end));
}

/** The names of a question, each with its words in order. */
export function namesOf(terms: readonly Term[]): Term[][] {
  const names = new Map<number, Term[]>();
  for (const term of terms) {
    if (term.name === null) continue;
    names.set(term.name, [...(names.get(term.name) ?? []), term]);
  }
  return [...names.values()];
}

/** The names of a question as they are written there, with a small word between two of their words: "Statue of Liberty". Numbers are none. */
export function writtenNames(question: string): string[] {
  const terms = termsOf(question);
  const named = new Set(terms.flatMap(({ name, written }) => (name === null ? [] : [written])));
  const telling = new Set(terms.map(({ word }) => word));
  const names: { readonly start: number; end: number }[] = [];
  for (const { 0: written, index } of question.matchAll(WORD)) {
    if (!named.has(written) || /\p{N}/u.test(written)) continue;
    const end = index + written.length;
    const last = names.at(-1);
    const between = /^(?:[ \u00a0-]| (\p{Ll}+) )$/u.exec(question.slice(last?.end, index));
    const isOne = between !== null && !telling.has(plain(between[1] ?? ""));
    if (isOne && last !== undefined) last.end = end;
    else names.push({ start: index, end });
  }
  return names.map(({ start, end }) => question.slice(start, end));
}

/** The stems of all words of a text, in order. */
export function stemsOf(text: string): string[] {
  return Array.from(text.matchAll(WORD), ([word]) => stemOf(plain(word)));
}

function plain(word: string): string {
  return word
    .normalize("NFD")
    .replaceAll(/\p{Mn}+/gu, "")
    .toLowerCase();
}

/**
 * A word without an English ending, so that "painted", "paints" and "painting" compare equal. Coarser than Porter's stems,
 * which only SQLite's index needs: here a text is already found.
 */
function stemOf(word: string): string {
  if (word.length <= 3 || /\p{N}/u.test(word)) return word;
  const bare = word
    .replace(/(?:ies|ied)$/, "y")
    .replace(/(?<=[^s])s$/, "")
    .replace(/(?<=.{3})(?:ings?|ed|er|ly)$/, "");
  return bare.replace(/([^aeioul])\1$/, "$1").replace(/(?<=.{2})e$/, "");
}
