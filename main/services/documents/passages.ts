/** Cutting an extracted text into passages of 120 to 180 words that keep to pages and, where they can, to sentences. */
import type { PageStart, PassageRecord } from "../../store/records.ts";

/** A passage is closed at the end of a sentence once it has this many words. */
const MIN_WORDS = 120;
/** No passage has more words. */
const MAX_WORDS = 180;
/** A "word" of more units is cut: scripts without spaces, and data, have none. */
const LONG_WORD = 40;
/** Nor more units than this. */
const MAX_UNITS = 2400;

/** In document order. @param pages where pages begin; null for a text without pages */
export function cutPassages(
  text: string,
  pages: readonly PageStart[] | null,
): Omit<PassageRecord, "documentId">[] {
  const passages: Omit<PassageRecord, "documentId">[] = [];
  const sections = pages ?? [{ page: null, start: 0 }];
  for (const [index, section] of sections.entries()) {
    const end = sections[index + 1]?.start ?? text.length;
    for (const range of cutSection(text, section.start, end)) {
      passages.push({
        ordinal: passages.length,
        page: section.page,
        ...range,
        text: text.slice(range.start, range.end),
      });
    }
  }
  return passages;
}

/** The page that an offset lies on. */
export function pageAt(pages: readonly PageStart[] | null, offset: number): number | null {
  return pages?.findLast((page) => page.start <= offset)?.page ?? null;
}

function* cutSection(
  text: string,
  from: number,
  to: number,
): Generator<{ start: number; end: number }> {
  // Never between the two halves of a character beyond 16 bits.
  const word = new RegExp(String.raw`\S{1,${LONG_WORD}}`, "gu");
  word.lastIndex = from;
  let start = -1;
  let end = from;
  let words = 0;
  for (let match = word.exec(text); match !== null && match.index < to; match = word.exec(text)) {
    // A new paragraph closes a long enough passage, so that a heading stays with what it heads.
    const paragraph = words >= MIN_WORDS && /\n\s*\n/.test(text.slice(end, match.index));
    const sentence = words >= MIN_WORDS && /[.!?…:]["'”’)\]]*$/.test(text.slice(start, end));
    const long = start >= 0 && match.index + match[0].length - start > MAX_UNITS;
    if (words >= MAX_WORDS || paragraph || sentence || long) {
      yield { start, end };
      start = -1;
      words = 0;
    }
    if (start < 0) start = match.index;
    end = Math.min(match.index + match[0].length, to);
    words++;
  }
  if (start >= 0) yield { start, end };
}
