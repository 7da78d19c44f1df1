/** Comma-separated values (RFC 4180), and by semicolons, tabs or bars: rows on lines, cells apart by " | ". */
import { decodeText } from "../decode-text.ts";
import type { Extracted } from "../extracted.ts";
import { TextBuilder } from "./text-builder.ts";

const SEPARATORS = [",", ";", "\t", "|"] as const;
/** Rows by which the separator is found. */
const PROBED = 20;

/** A text without columns stays as it is. */
export function extractCsv(bytes: Uint8Array, name: string): Extracted {
  const { text, notice } = decodeText(bytes);
  const separator = separatorOf(text);
  if (separator === null) return { text, pages: null, pageUnit: null, notice };
  const builder = new TextBuilder(name);
  builder.table([...rowsOf(text, separator)]);
  return { ...builder.finish(), pageUnit: null, notice };
}

/** The one that gives most first rows the same number of cells, more than one; null where none does. */
function separatorOf(text: string): string | null {
  let best: { readonly separator: string; readonly rows: number } | null = null;
  for (const separator of SEPARATORS) {
    const widths: number[] = [];
    for (const row of rowsOf(text, separator)) {
      if (widths.length === PROBED) break;
      if (row.some((cell) => cell !== "")) widths.push(row.length);
    }
    const width = widths[0] ?? 0;
    const rows = width < 2 ? 0 : widths.filter((one) => one === width).length;
    if (rows * 2 > widths.length && rows > (best?.rows ?? 0)) best = { separator, rows };
  }
  return best?.separator ?? null;
}

/** Rows of cells; a quoted cell may hold separators, line breaks, and quotes written twice. */
export function* rowsOf(text: string, separator: string): Generator<string[]> {
  let row: string[] = [];
  let at = 0;
  while (at <= text.length) {
    let cell: string;
    if (text[at] === '"') {
      const parts: string[] = [];
      let from = at + 1;
      for (;;) {
        const quote = text.indexOf('"', from);
        parts.push(text.slice(from, quote < 0 ? text.length : quote));
        at = quote < 0 ? text.length : quote + 1;
        if (quote < 0 || text[at] !== '"') break;
        parts.push('"');
        from = at + 1;
      }
      cell = parts.join("");
    } else cell = "";
    const end = endOfCell(text, at, separator);
    row.push(cell + text.slice(at, end));
    at = end + 1;
    if (text[end] === separator) continue;
    if (end < text.length || row.length > 1 || row[0] !== "") yield row;
    row = [];
    if (end >= text.length) return;
  }
}

function endOfCell(text: string, from: number, separator: string): number {
  let at = from;
  while (at < text.length && text[at] !== separator && text[at] !== "\n") at++;
  return at;
}
