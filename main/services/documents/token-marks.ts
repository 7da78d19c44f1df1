/** Where in a document's token ids each place of its text is, found by what the ids decode to. */
import type { TokenMark } from "../../store/records.ts";

/** Ids back into text, control tokens left out. */
export type Decode = (ids: Int32Array) => Promise<string>;

/** Ids that are decoded at a time. */
const WINDOW = 64;
/** What a decoder writes for a character of which some bytes are missing. */
const UNFINISHED = "\ufffd";
/** Tokens that a character may take. */
const MAX_TOKENS_A_CHARACTER = 16;

/**
 * For each offset the last place between two tokens at or before it, so that those ids hold exactly the text up to the mark: a state
 * there has seen nothing behind it. Places are checked, not estimated: what the ids decode to is the text. Empty where it is not.
 * @param ids of a conversation's beginning that holds the text, maybe without its last words
 * @param offsets UTF-16, ascending
 */
export async function findMarks(
  decode: Decode,
  ids: Int32Array,
  text: string,
  offsets: readonly number[],
): Promise<TokenMark[]> {
  const decoded = await decode(ids);
  const begin = beginningOf(decoded, text);
  if (begin === null) return [];
  /** Offset of the text = units of what is decoded + this. */
  const shift = begin.offset - begin.at;
  const marks: TokenMark[] = [];
  let tokens = 0;
  let units = 0;
  let next = 0;
  while (tokens < ids.length && next < offsets.length) {
    const window = await openWindow(decode, ids, tokens);
    const length = window.text.length;
    if (decoded.slice(units, units + length) !== window.text) return [];
    const isLast = tokens + window.size >= ids.length;
    for (; next < offsets.length; next++) {
      const wanted = Math.min(offsets[next] ?? 0, begin.end) - shift - units;
      if (wanted >= length && !isLast) break;
      const place = await lastPlace(window, wanted);
      const mark = { tokens: tokens + place.tokens, offset: units + place.units + shift };
      if (mark.offset > begin.offset && mark.tokens > (marks.at(-1)?.tokens ?? 0)) marks.push(mark);
    }
    tokens += window.size;
    units += length;
  }
  return marks;
}

/**
 * Where the document's words begin in what is decoded, and in the text, and the end of what is the same in both; null where a word
 * differs. White space behind the last word may differ (some tokenizers fold it), and is then no place for a mark.
 */
function beginningOf(
  decoded: string,
  text: string,
): { readonly at: number; readonly offset: number; readonly end: number } | null {
  const offset = text.length - text.trimStart().length;
  const words = text.trim();
  const at = decoded.indexOf(words.slice(0, 200));
  if (words === "" || at < 0) return null;
  const most = Math.min(text.length - offset, decoded.length - at);
  let same = 0;
  while (same < most && text.charCodeAt(offset + same) === decoded.charCodeAt(at + same)) same++;
  return same < Math.min(words.length, most) ? null : { at, offset, end: offset + same };
}

interface Window {
  /** Tokens. */
  readonly size: number;
  /** What they decode to. */
  readonly text: string;
  /** What the first of them decode to. */
  first(tokens: number): Promise<string>;
}

/** From `start`, which lies between two characters, to another such place. */
async function openWindow(decode: Decode, ids: Int32Array, start: number): Promise<Window> {
  // Decoders treat the first token of a text apart (a space goes), so one more is decoded, and its text taken off.
  const from = Math.max(start - 1, 0);
  const before = start === 0 ? 0 : (await decode(ids.subarray(from, start))).length;
  const first = async (tokens: number): Promise<string> =>
    tokens === 0 ? "" : (await decode(ids.subarray(from, start + tokens))).slice(before);
  let size = Math.min(WINDOW, ids.length - start);
  let text = await first(size);
  for (let more = 0; more < MAX_TOKENS_A_CHARACTER && start + size < ids.length; more++) {
    if (!text.endsWith(UNFINISHED)) break;
    text = await first(++size);
  }
  return { size, text, first };
}

/** The most tokens of the window that end with a character and decode to at most so many units. */
async function lastPlace(
  window: Window,
  most: number,
): Promise<{ readonly tokens: number; readonly units: number }> {
  let low = 0;
  let high = window.size;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((await window.first(middle)).length <= most) low = middle;
    else high = middle - 1;
  }
  for (let tokens = low; tokens > Math.max(low - MAX_TOKENS_A_CHARACTER, 0); tokens--) {
    const piece = await window.first(tokens);
    if (!piece.endsWith(UNFINISHED) && window.text.startsWith(piece) && piece.length <= most)
      return { tokens, units: piece.length };
  }
  return { tokens: 0, units: 0 };
}
