import { getDocumentProxy } from "unpdf";
import { TarnError } from "../../contract/errors.ts";
import type { Extracted } from "./extracted.ts";

/** A piece of text on a page, as pdf.js gives it: `transform[4]` is its left end, `transform[5]` its baseline, in points, upwards. */
interface TextItem {
  readonly str: string;
  readonly hasEOL: boolean;
  readonly width: number;
  readonly height: number;
  readonly transform: readonly number[];
}

/** A gap begins a paragraph when it is this many line heights, */
const PARAGRAPH_HEIGHTS = 1.6;
/** and this many of the page's usual gaps. */
const PARAGRAPH_GAPS = 1.35;
/** A gap inside a line parts a table's cells when it is this many line heights: words stand a quarter of one apart. */
const CELL_GAP = 1;
const CELL = " | ";
/** Letters that much larger or smaller begin a paragraph: a heading, or what follows it. */
const OTHER_SIZE = 1.25;
/** Pages that a sentence about scanned ones names. */
const NAMED_RANGES = 8;

/**
 * The text of each page, in the order of the file's own text.
 * @throws TarnError `document-encrypted`, `document-no-text`, `document-broken`
 */
export async function extractPdf(bytes: Uint8Array, name: string): Promise<Extracted> {
  const pdf = await open(bytes, name);
  try {
    const pages: { page: number; start: number }[] = [];
    const scanned: number[] = [];
    let text = "";
    for (let number = 1; number <= pdf.numPages; number++) {
      const page = await pdf.getPage(number);
      const content = await page.getTextContent();
      if (text !== "") text += "\n\n";
      pages.push({ page: number, start: text.length });
      const words = joinLines(content.items.filter((item) => "str" in item));
      if (words === "") scanned.push(number);
      text += words;
      page.cleanup();
    }
    if (text.trim() === "") {
      const which = pdf.numPages === 1 ? "Its only page holds" : `Pages 1-${pdf.numPages} hold`;
      throw new TarnError(
        "document-no-text",
        `There is no text in "${name}". ${which} images, no text. Nothing was added; run it through text recognition (OCR) first.`,
        { name, pages: pdf.numPages },
      );
    }
    return { text, pages, pageUnit: "page", notice: scannedNotice(name, scanned) };
  } catch (cause) {
    throw asBroken(cause, name);
  } finally {
    await pdf.loadingTask.destroy();
  }
}

/** Pages without words are pictures of words, or empty: whoever asks about them must know. */
function scannedNotice(name: string, pages: readonly number[]): string | null {
  if (pages.length === 0) return null;
  const ranges: string[] = [];
  for (let index = 0; index < pages.length; index++) {
    const first = pages[index] ?? 0;
    while ((pages[index + 1] ?? 0) === (pages[index] ?? 0) + 1) index++;
    const last = pages[index] ?? first;
    ranges.push(first === last ? `${first}` : `${first}-${last}`);
  }
  const named = ranges.slice(0, NAMED_RANGES).join(", ");
  const more = ranges.length > NAMED_RANGES ? " and others" : "";
  const hold =
    pages.length === 1
      ? `Page ${named} of "${name}" holds`
      : `Pages ${named}${more} of "${name}" hold`;
  return `${hold} no text, only images or nothing. The other pages can be read; run it through text recognition (OCR) for these.`;
}

async function open(bytes: Uint8Array, name: string) {
  try {
    return await getDocumentProxy(bytes, { stopAtErrors: false, verbosity: 0 });
  } catch (cause) {
    if (cause instanceof Error && cause.name === "PasswordException") {
      throw new TarnError(
        "document-encrypted",
        `"${name}" is locked with a password. Nothing was added; save a copy without the password and attach that.`,
        { name },
        cause,
      );
    }
    throw asBroken(cause, name);
  }
}

function asBroken(cause: unknown, name: string): TarnError {
  if (cause instanceof TarnError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new TarnError(
    "document-broken",
    `"${name}" is damaged and could not be read as a PDF (${why}). Nothing was added.`,
    { name },
    cause,
  );
}

interface Line {
  readonly words: string;
  /** Of its base line, in points from the page's lower edge. */
  readonly y: number;
  /** Of its largest letters, in points. */
  readonly height: number;
}

/** Lines of one paragraph flow together, words broken at a line's end are joined, a larger gap begins a new paragraph. */
export function joinLines(items: readonly TextItem[]): string {
  const lines = linesOf(items);
  const usual = usualGap(lines);
  let text = "";
  lines.forEach(({ words, y, height }, index) => {
    const before = lines[index - 1];
    const least =
      before === undefined
        ? 0
        : Math.max(PARAGRAPH_HEIGHTS * Math.max(height, before.height), PARAGRAPH_GAPS * usual);
    if (before === undefined) text = words;
    else if (Math.abs(before.y - y) > least || isOtherSize(before.height, height))
      text += `\n\n${words}`;
    else if (words.includes(CELL) && before.words.includes(CELL)) text += `\n${words}`;
    else if (/\p{L}-$/u.test(text) && /^\p{Ll}/u.test(words)) text = text.slice(0, -1) + words;
    else text += ` ${words}`;
  });
  return text;
}

function isOtherSize(a: number, b: number): boolean {
  return Math.max(a, b) > OTHER_SIZE * Math.min(a, b) && Math.min(a, b) > 0;
}

/** The median distance from one line to the next: manuscripts are set wider than books. */
function usualGap(lines: readonly Line[]): number {
  const gaps = lines.slice(1).map(({ y }, index) => Math.abs((lines[index]?.y ?? y) - y));
  return gaps.toSorted((a, b) => a - b)[gaps.length >> 1] ?? 0;
}

function linesOf(items: readonly TextItem[]): Line[] {
  const lines: Line[] = [];
  let line = "";
  let lineY: number | null = null;
  let height = 0;
  /** Right end of the last words on the line. */
  let end = 0;
  const endLine = (): void => {
    const words = line.replaceAll(/\s+/g, " ").trim();
    if (words !== "" && lineY !== null) lines.push({ words, y: lineY, height });
    line = "";
    lineY = null;
    height = 0;
  };
  for (const item of items) {
    const y = item.transform[5] ?? 0;
    const says = item.str.trim() !== "";
    if (lineY !== null && says && Math.abs(y - lineY) > 0.5 * Math.max(height, item.height))
      endLine();
    if (says) {
      const start = item.transform[4] ?? 0;
      if (lineY !== null && item.height > 0 && start - end > CELL_GAP * item.height)
        line = line.trimEnd() + CELL;
      lineY ??= y;
      height = Math.max(height, item.height);
      end = start + item.width;
    }
    line += item.str;
    if (item.hasEOL) endLine();
  }
  endLine();
  return lines;
}
