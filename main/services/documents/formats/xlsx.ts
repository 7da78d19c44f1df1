/** Excel workbooks (ECMA-376, SpreadsheetML): a page a sheet, a line a row; formulas by their last value, dates as ISO 8601. */
import type { Extracted } from "../extracted.ts";
import { mainPart, readPart, relationshipsOf } from "./office-package.ts";
import { TextBuilder } from "./text-builder.ts";
import { attribute, localName } from "./xml.ts";
import type { Zip } from "./zip.ts";

/** Gaps between cells of a row are kept up to so many columns: a stray cell far out is no table. */
const MAX_GAP = 64;
/** Numbers that dates and times are shown with, of those that every workbook has (ECMA-376 part 1, 18.8.30). */
const DATE_FORMATS: ReadonlySet<number> = new Set([
  14, 15, 16, 17, 18, 19, 20, 21, 22, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 45, 46, 47, 50, 51,
  52, 53, 54, 55, 56, 57, 58,
]);

interface Workbook {
  readonly sheets: readonly { readonly title: string; readonly path: string }[];
  readonly strings: readonly string[];
  /** For each cell style whether it shows dates. */
  readonly dateStyles: readonly boolean[];
  /** Days from 1970 back to the workbook's day 0. */
  readonly epoch: number;
}

/** @throws TarnError `document-…` */
export function extractXlsx(zip: Zip, name: string): Extracted {
  const workbook = readWorkbook(zip, name);
  const builder = new TextBuilder(name);
  for (const sheet of workbook.sheets) {
    builder.page(sheet.title);
    // The sheet's name stands over its rows, so that a passage says what it is of.
    builder.paragraph(sheet.title);
    builder.table(readRows(zip, sheet.path, workbook, name));
  }
  return { ...builder.finish(), pageUnit: "sheet", notice: null };
}

function readWorkbook(zip: Zip, name: string): Workbook {
  const part = mainPart(zip, name) ?? "xl/workbook.xml";
  const parts = relationshipsOf(zip, part, name);
  const sheets: { title: string; path: string }[] = [];
  let epoch = 25_569;
  readPart(
    zip,
    part,
    {
      open(tag, attributes) {
        const local = localName(tag);
        if (local === "workbookPr" && /^(?:1|true)$/.test(attributes["date1904"] ?? ""))
          epoch = 24_107;
        if (local !== "sheet") return;
        const id = attribute(attributes, "id");
        const found = parts.find((one) => one.kind === "worksheet" && one.id === id);
        if (found !== undefined) sheets.push({ title: attributes["name"] ?? "", path: found.path });
      },
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  const pathOf = (kind: string) => parts.find((one) => one.kind === kind)?.path;
  const strings = pathOf("sharedStrings");
  const styles = pathOf("styles");
  return {
    sheets,
    strings: strings === undefined ? [] : readStrings(zip, strings, name),
    dateStyles: styles === undefined ? [] : readDateStyles(zip, styles, name),
    epoch,
  };
}

function readStrings(zip: Zip, part: string, name: string): string[] {
  const strings: string[] = [];
  let text: string | null = null;
  let inText = false;
  let phonetic = 0;
  readPart(
    zip,
    part,
    {
      open(tag) {
        const local = localName(tag);
        if (local === "si") text = "";
        else if (local === "rPh") phonetic++;
        else if (local === "t") inText = phonetic === 0;
      },
      text(piece) {
        if (inText && text !== null) text += piece;
      },
      close(tag) {
        const local = localName(tag);
        if (local === "t") inText = false;
        else if (local === "rPh") phonetic--;
        else if (local === "si") {
          strings.push(text ?? "");
          text = null;
        }
      },
    },
    name,
  );
  return strings;
}

function readDateStyles(zip: Zip, part: string, name: string): boolean[] {
  const own = new Map<number, boolean>();
  const styles: boolean[] = [];
  let inCells = false;
  readPart(
    zip,
    part,
    {
      open(tag, attributes) {
        const local = localName(tag);
        if (local === "numFmt")
          own.set(Number(attributes["numFmtId"]), showsDate(attributes["formatCode"] ?? ""));
        else if (local === "cellXfs") inCells = true;
        else if (local === "xf" && inCells) {
          const format = Number(attributes["numFmtId"] ?? 0);
          styles.push(own.get(format) ?? DATE_FORMATS.has(format));
        }
      },
      text: () => undefined,
      close: (tag) => void (localName(tag) === "cellXfs" && (inCells = false)),
    },
    name,
  );
  return styles;
}

/** True for a format with letters of dates outside quotes and brackets. */
function showsDate(code: string): boolean {
  return /[ymdhs]/i.test(code.slice(0, 256).replaceAll(/"[^"]*"|\[[^\]]*\]|\\./g, ""));
}

function readRows(zip: Zip, part: string, workbook: Workbook, name: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = { type: "", style: 0 };
  let value = "";
  let depth: "none" | "value" = "none";
  readPart(
    zip,
    part,
    {
      open(tag, attributes) {
        switch (localName(tag)) {
          case "row":
            row = [];
            return;
          case "c": {
            const column = columnOf(attributes["r"] ?? "");
            const gap = column === null ? 0 : Math.min(column - row.length, MAX_GAP);
            for (let one = 0; one < gap; one++) row.push("");
            cell = { type: attributes["t"] ?? "n", style: Number(attributes["s"] ?? 0) };
            value = "";
            return;
          }
          case "v":
          case "t":
            depth = "value";
            return;
          case "rPh":
            depth = "none";
            return;
          default:
            return;
        }
      },
      text(piece) {
        if (depth === "value") value += piece;
      },
      close(tag) {
        switch (localName(tag)) {
          case "v":
          case "t":
            depth = "none";
            return;
          case "c":
            row.push(shown(value, cell, workbook));
            return;
          case "row":
            rows.push(row);
            return;
          default:
            return;
        }
      },
    },
    name,
  );
  return rows;
}

/** "B7" → 1; null where it says nothing. */
function columnOf(reference: string): number | null {
  const letters = /^[A-Z]{1,3}/.exec(reference)?.[0];
  if (letters === undefined) return null;
  let column = 0;
  for (let at = 0; at < letters.length; at++) column = column * 26 + letters.charCodeAt(at) - 64;
  return column - 1;
}

function shown(
  value: string,
  { type, style }: { readonly type: string; readonly style: number },
  workbook: Workbook,
): string {
  switch (type) {
    case "s":
      return workbook.strings[Number(value)] ?? "";
    case "b":
      return value === "1" ? "TRUE" : "FALSE";
    case "n":
      return value === "" ? "" : shownNumber(Number(value), value, workbook, style);
    default:
      return value;
  }
}

function shownNumber(number: number, raw: string, workbook: Workbook, style: number): string {
  if (!Number.isFinite(number)) return raw;
  if (workbook.dateStyles[style] === true) return shownDate(number, workbook.epoch) ?? raw;
  // Spreadsheets keep 15 digits; what stands behind them is the binary form's.
  return String(Number(number.toPrecision(15)));
}

/** A day count as date, date and time, or time alone; null beyond what dates can be. */
function shownDate(days: number, epoch: number): string | null {
  if (days < 0 || days > 2_958_466) return null;
  const iso = new Date(Math.round((days - epoch) * 86_400) * 1000).toISOString();
  const time = iso.slice(11, 19);
  if (days < 1) return time;
  return Number.isInteger(days) ? iso.slice(0, 10) : `${iso.slice(0, 10)} ${time}`;
}
