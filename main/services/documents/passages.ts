/** Cutting an extracted text into passages of 120 to 180 words that keep to pages and to sentences; only what is longer than a passage is cut. */
import type { PageStart, PassageRecord } from "../../store/records.ts";
import { sentencesIn } from "./sentences.ts";

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
  let open: { readonly start: number; readonly end: number; readonly words: number } | null = null;
  for (const piece of piecesOf(text, from, to)) {
    const isFull: boolean =
      open !== null && (open.words + piece.words > MAX_WORDS || piece.end - open.start > MAX_UNITS);
    if (open !== null && isFull) {
      yield { start: open.start, end: open.end };
      open = null;
    }
    open =
      open === null
        ? piece
        : { start: open.start, end: piece.end, words: open.words + piece.words };
    // A heading stays with what it heads.
    if (open.words >= MIN_WORDS && text[piece.start] !== "#") {
      yield { start: open.start, end: open.end };
      open = null;
    }
  }
  if (open !== null) yield { start: open.start, end: open.end };
}

/** Sentences; those that are longer than a passage in parts. */
function* piecesOf(
  text: string,
  from: number,
  to: number,
): Generator<{ start: number; end: number; words: number }> {
  // Never between the two halves of a character beyond 16 bits.
  const word = new RegExp(String.raw`\S{1,${LONG_WORD}}`, "gu");
  for (const sentence of sentencesIn(text, from, to)) {
    let [start, end, words] = [sentence.start, sentence.start, 0];
    word.lastIndex = sentence.start;
    for (
      let match = word.exec(text);
      match !== null && match.index < sentence.end;
      match = word.exec(text)
    ) {
      if (words === MAX_WORDS) {
        yield { start, end, words };
        start = match.index;
        words = 0;
      }
      end = Math.min(match.index + match[0].length, sentence.end);
      words++;
    }
    if (words > 0) yield { start, end, words };
  }
}
