/** Word documents (ECMA-376, WordprocessingML): paragraphs, tables, notes; pages where Word noted them. */
import type { Extracted } from "../extracted.ts";
import { mainPart, readPart, relationshipsOf } from "./office-package.ts";
import { Paragraphs, Tables, TextBuilder } from "./text-builder.ts";
import { attribute, localName, type XmlHandler } from "./xml.ts";
import type { Zip } from "./zip.ts";

/** What was moved away, and what stands a second time for older programs. */
const SKIPPED: ReadonlySet<string> = new Set(["moveFrom", "del", "Fallback"]);
const NOTES: ReadonlySet<string> = new Set(["footnotes", "endnotes"]);

/** @throws TarnError `document-…` */
export function extractDocx(zip: Zip, name: string): Extracted {
  const part = mainPart(zip, name) ?? "word/document.xml";
  const builder = new TextBuilder(name);
  // Word notes where its pages began when it last laid the text out; other programs do not.
  let hasPages = false;
  readPart(
    zip,
    part,
    findPages(() => (hasPages = true)),
    name,
  );
  if (hasPages) builder.page(null);
  readPart(zip, part, paragraphsInto(builder, hasPages), name);
  for (const { kind, path } of relationshipsOf(zip, part, name))
    if (NOTES.has(kind)) readPart(zip, path, paragraphsInto(builder, false), name);
  return { ...builder.finish(), pageUnit: hasPages ? "page" : null, notice: null };
}

function findPages(found: () => void): XmlHandler {
  return {
    open: (tag) => void (localName(tag) === "lastRenderedPageBreak" && found()),
    text: () => undefined,
    close: () => undefined,
  };
}

/** @param countPages whether noted page breaks begin pages */
function paragraphsInto(builder: TextBuilder, countPages: boolean): XmlHandler {
  const paragraphs = new Paragraphs();
  const tables = new Tables();
  let skipped = 0;
  /** Inside a run: the properties of a paragraph have elements of the same names (tab stops). */
  let runs = 0;
  let inText = false;
  let newPage = false;

  function endParagraph(): void {
    const words = paragraphs.close();
    if (paragraphs.isOpen) paragraphs.add(`\n${words}\n`);
    else if (tables.inCell) tables.add(words);
    else builder.paragraph(words);
  }
  function open(local: string, attributes: Readonly<Record<string, string>>): void {
    switch (local) {
      case "p":
        // A break noted inside a paragraph begins its page with the next one, so that no paragraph is torn.
        if (newPage && !paragraphs.isOpen && !tables.inCell) {
          builder.page(null);
          newPage = false;
        }
        return paragraphs.open();
      case "r":
        runs++;
        return;
      case "t":
        inText = true;
        return;
      case "tab":
        if (runs > 0) paragraphs.add("\t");
        return;
      case "br":
      case "cr":
        return paragraphs.add(attribute(attributes, "type") === "page" ? "\n\n" : "\n");
      case "noBreakHyphen":
        return paragraphs.add("-");
      case "numPr":
        return paragraphs.add("- ");
      case "footnoteReference":
      case "endnoteReference":
        return paragraphs.add(`[${attribute(attributes, "id") ?? ""}]`);
      case "lastRenderedPageBreak":
        newPage = countPages;
        return;
      case "tbl":
        return tables.openTable();
      case "tr":
        return tables.openRow();
      case "tc":
        return tables.openCell();
      default:
        return;
    }
  }
  function close(local: string): void {
    switch (local) {
      case "p":
        return endParagraph();
      case "r":
        runs--;
        return;
      case "t":
        inText = false;
        return;
      case "tc":
        return tables.closeCell();
      case "tbl": {
        const rows = tables.closeTable();
        if (rows !== null) builder.table(rows);
        return;
      }
      default:
        return;
    }
  }
  return {
    open(tag, attributes) {
      const local = localName(tag);
      if (SKIPPED.has(local)) skipped++;
      else if (skipped === 0) open(local, attributes);
    },
    text(text) {
      if (inText && skipped === 0) paragraphs.add(text);
    },
    close(tag) {
      const local = localName(tag);
      if (SKIPPED.has(local)) skipped--;
      else if (skipped === 0) close(local);
    },
  };
}
