/** How a document is cut for reading: where its running state is kept, and into which chunks it falls. Pure, so that every run cuts alike. */
import type { PageStart, PassageRecord, TokenMark } from "../../store/records.ts";

/** A page's end closes a piece of at least so many tokens: shorter ones cost more to keep than to read again. */
const MIN_PIECE = 256;
/** A paragraph's end closes one that has become so long. */
const LONG_PIECE = 1024;
/** Nothing is read longer without a place to go on from, where there are no marks. */
const MAX_PIECE = 2048;
/** Chunks are closed behind so many tokens, at a page's end behind fewer. */
const CHUNK = { usual: 1600, page: 1200 } as const;
/** Units of text a token, where no marks say it. */
const UNITS_A_TOKEN = 4;
/** So many checkpoints are kept whatever their distance; */
const ALL_KEPT = 24;
/** of more, so many in each doubling of the distance from the end. */
const KEPT_AN_OCTAVE = 4;

/**
 * Places, in tokens, where reading stops for a moment and its state may be kept; the last is the end. A longer version of the same
 * text has the same ones as far as both go, but for the last.
 */
export function cutsOf(
  total: number,
  marks: readonly TokenMark[],
  pages: readonly PageStart[] | null,
): number[] {
  const pageEnds = new Set(
    (pages ?? []).map(({ start }) => marks.findLast(({ offset }) => offset <= start)?.tokens),
  );
  const cuts: number[] = [];
  let last = 0;
  const cut = (tokens: number): void => {
    for (; tokens - last > 2 * MAX_PIECE; last += MAX_PIECE) cuts.push(last + MAX_PIECE);
    if (tokens > last) cuts.push(tokens);
    last = tokens;
  };
  for (const { tokens } of marks) {
    const least = pageEnds.has(tokens) ? MIN_PIECE : LONG_PIECE;
    if (tokens - last >= least && tokens < total) cut(tokens);
  }
  if (marks.length === 0)
    for (let tokens = MAX_PIECE; tokens < total; tokens += MAX_PIECE) cut(tokens);
  cut(total);
  return cuts;
}

/**
 * Which of so many cuts stay checkpoints, by their index: all of few; of many those nearer the end closer together, so that
 * standing at any place costs reading at most about a quarter of its distance from the end. A constant state may have 10 MB.
 */
export function isKept(index: number, count: number): boolean {
  const distance = count - 1 - index;
  if (count <= ALL_KEPT || distance < KEPT_AN_OCTAVE) return true;
  return index % 2 ** Math.floor(Math.log2(distance / KEPT_AN_OCTAVE)) === 0;
}

/** A chunk before its ids are known. */
export interface ChunkPlan {
  readonly page: number | null;
  readonly start: number;
  readonly end: number;
}

/** Whole passages together, some 1,500 tokens each, ending with pages where that fits. */
export function chunksOfPassages(
  passages: readonly Pick<PassageRecord, "page" | "start" | "end">[],
  marks: readonly TokenMark[],
): ChunkPlan[] {
  const tokensAt = tokenCounter(marks);
  const chunks: ChunkPlan[] = [];
  let lastPage: number | null = null;
  for (const { page, start, end } of passages) {
    const open = chunks.at(-1);
    const from = tokensAt(open?.start ?? start);
    const isFull =
      open === undefined ||
      tokensAt(end) - from > CHUNK.usual ||
      (page !== lastPage && tokensAt(open.end) - from >= CHUNK.page);
    if (isFull) chunks.push({ page, start, end });
    else chunks[chunks.length - 1] = { ...open, end };
    lastPage = page;
  }
  return chunks;
}

/** Tokens before an offset: between marks by the text's length. */
function tokenCounter(marks: readonly TokenMark[]): (offset: number) => number {
  return (offset) => {
    let low = 0;
    let high = marks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((marks[middle]?.offset ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const before = marks[low - 1] ?? { tokens: 0, offset: 0 };
    return before.tokens + (offset - before.offset) / UNITS_A_TOKEN;
  };
}
