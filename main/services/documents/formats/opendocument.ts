/** OpenDocument texts, sheets and presentations (OASIS ODF 1.3): content.xml of each. */
import { TarnError } from "../../../contract/errors.ts";
import type { Extracted } from "../extracted.ts";
import { readPart } from "./office-package.ts";
import { Paragraphs, Tables, TextBuilder } from "./text-builder.ts";
import { attribute, decodeXml, type XmlHandler } from "./xml.ts";
import type { Zip } from "./zip.ts";

/** Deleted text, remarks, and the words that describe pictures. */
const SKIPPED: ReadonlySet<string> = new Set([
  "text:tracked-changes",
  "office:annotation",
  "text:note-citation",
  "svg:title",
  "svg:desc",
  "presentation:notes",
  "office:forms",
]);
/** A cell may say that it stands there many times; beyond this it is formatting. */
const MAX_REPEATS = 64;
const MAX_SPACES = 1000;

/** @throws TarnError `document-…` */
export function extractOpenDocument(zip: Zip, name: string): Extracted {
  const manifest = zip.read("META-INF/manifest.xml");
  if (manifest !== null && decodeXml(manifest).includes("encryption-data"))
    throw new TarnError(
      "document-encrypted",
      `"${name}" is locked with a password. Nothing was added; save a copy without the password and attach that.`,
      { name },
    );
  const unit = pageUnit(zip, name);
  const builder = new TextBuilder(name);
  if (unit === "page") builder.page(null);
  readPart(zip, "content.xml", contentInto(builder, unit), name);
  return { ...builder.finish(), pageUnit: unit, notice: null };
}

/** By what the body is; a text has pages where its program noted them. */
function pageUnit(zip: Zip, name: string): Extracted["pageUnit"] {
  let unit: Extracted["pageUnit"] = null;
  readPart(
    zip,
    "content.xml",
    {
      open(tag) {
        if (tag === "office:presentation") unit = "slide";
        else if (tag === "office:spreadsheet") unit = "sheet";
        else if (tag === "text:soft-page-break") unit ??= "page";
      },
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  return unit;
}

function contentInto(builder: TextBuilder, unit: Extracted["pageUnit"]): XmlHandler {
  const paragraphs = new Paragraphs();
  const tables = new Tables();
  const notes: string[] = [];
  let noteDepth = 0;
  let skipped = 0;
  let inBody = false;
  let newPage = false;
  let itemBegins = false;
  let repeats = 1;
  let tableDepth = 0;

  function begin(): void {
    if (newPage && !paragraphs.isOpen && tableDepth === 0) {
      builder.page(null);
      newPage = false;
    }
    paragraphs.open();
    if (itemBegins) paragraphs.add("- ");
    itemBegins = false;
  }
  function end(): void {
    const words = paragraphs.close();
    if (noteDepth > 0) notes.push(words);
    else if (paragraphs.isOpen) paragraphs.add(`\n${words}\n`);
    else if (tables.inCell) tables.add(words);
    else builder.paragraph(words);
  }
  function open(tag: string, attributes: Readonly<Record<string, string>>): void {
    switch (tag) {
      case "office:body":
        inBody = true;
        return;
      case "text:p":
      case "text:h":
        return begin();
      case "text:s":
        return paragraphs.add(" ".repeat(count(attributes, "c", MAX_SPACES)));
      case "text:tab":
        return paragraphs.add("\t");
      case "text:line-break":
        return paragraphs.add("\n");
      case "text:list-item":
        itemBegins = true;
        return;
      case "text:note":
        noteDepth++;
        return;
      case "text:soft-page-break":
        newPage = unit === "page";
        return;
      case "draw:page":
        return builder.page(attribute(attributes, "name") ?? null);
      case "table:table":
        tableDepth++;
        if (unit === "sheet" && tableDepth === 1) {
          const title = attribute(attributes, "name") ?? "";
          builder.page(title);
          builder.paragraph(title);
        }
        return tables.openTable();
      case "table:table-row":
        return tables.openRow();
      case "table:table-cell":
      case "table:covered-table-cell":
        repeats = count(attributes, "number-columns-repeated", MAX_REPEATS);
        return tables.openCell();
      default:
        return;
    }
  }
  function close(tag: string): void {
    switch (tag) {
      case "text:p":
      case "text:h":
        return end();
      case "text:note":
        noteDepth--;
        return;
      case "table:table-cell":
      case "table:covered-table-cell":
        tables.closeCell(repeats);
        repeats = 1;
        return;
      case "table:table": {
        tableDepth--;
        const rows = tables.closeTable();
        if (rows !== null) builder.table(rows);
        return;
      }
      case "office:body":
        for (const note of notes) builder.paragraph(note);
        inBody = false;
        return;
      default:
        return;
    }
  }
  return {
    open(tag, attributes) {
      if (SKIPPED.has(tag)) skipped++;
      else if (skipped === 0) open(tag, attributes);
    },
    text(text) {
      // A line break in the file is a space; meant ones are elements.
      if (inBody && skipped === 0) paragraphs.add(text.replaceAll(/\s+/g, " "));
    },
    close(tag) {
      if (SKIPPED.has(tag)) skipped--;
      else if (skipped === 0) close(tag);
    },
  };
}

function count(attributes: Readonly<Record<string, string>>, name: string, most: number): number {
  const value = Number(attribute(attributes, name) ?? 1);
  return Number.isInteger(value) && value >= 1 ? Math.min(value, most) : 1;
}
