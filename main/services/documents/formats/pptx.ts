/** PowerPoint presentations (ECMA-376, PresentationML): a page a slide, in the order of the show, each with its notes. */
import type { Extracted } from "../extracted.ts";
import { mainPart, readPart, relationshipsOf } from "./office-package.ts";
import { Paragraphs, Tables, TextBuilder } from "./text-builder.ts";
import { attribute, localName } from "./xml.ts";
import type { Zip } from "./zip.ts";

/** Placeholders that repeat what is no content. */
const FURNITURE: ReadonlySet<string> = new Set(["sldNum", "dt", "ftr", "hdr", "sldImg"]);
const TITLES: ReadonlySet<string> = new Set(["title", "ctrTitle"]);

/** @throws TarnError `document-…` */
export function extractPptx(zip: Zip, name: string): Extracted {
  const part = mainPart(zip, name) ?? "ppt/presentation.xml";
  const builder = new TextBuilder(name);
  for (const slide of slidesInOrder(zip, part, name)) {
    const { title, blocks } = readSlide(zip, slide, name);
    builder.page(title);
    put(builder, blocks);
    for (const { kind, path } of relationshipsOf(zip, slide, name)) {
      if (kind !== "notesSlide") continue;
      const notes = readSlide(zip, path, name).blocks;
      if (notes.length === 0) continue;
      builder.paragraph("Notes:");
      put(builder, notes);
    }
  }
  return { ...builder.finish(), pageUnit: "slide", notice: null };
}

type Block = string | readonly (readonly string[])[];

function put(builder: TextBuilder, blocks: readonly Block[]): void {
  for (const block of blocks)
    if (typeof block === "string") builder.paragraph(block);
    else builder.table(block);
}

function slidesInOrder(zip: Zip, part: string, name: string): string[] {
  const slides = new Map(
    relationshipsOf(zip, part, name)
      .filter(({ kind }) => kind === "slide")
      .map(({ id, path }) => [id, path]),
  );
  const order: string[] = [];
  readPart(
    zip,
    part,
    {
      open(tag, attributes) {
        if (localName(tag) !== "sldId") return;
        const slide = slides.get(attributes["r:id"] ?? "");
        if (slide !== undefined) order.push(slide);
      },
      text: () => undefined,
      close: () => undefined,
    },
    name,
  );
  return order;
}

function readSlide(
  zip: Zip,
  part: string,
  name: string,
): { readonly title: string | null; readonly blocks: readonly Block[] } {
  const blocks: Block[] = [];
  const paragraphs = new Paragraphs();
  const tables = new Tables();
  let title: string | null = null;
  let placeholder = "";
  let inText = false;
  readPart(
    zip,
    part,
    {
      open(tag, attributes) {
        switch (localName(tag)) {
          case "sp":
            placeholder = "";
            return;
          case "ph":
            placeholder = attribute(attributes, "type") ?? "";
            return;
          case "p":
            return paragraphs.open();
          case "t":
            inText = true;
            return;
          case "br":
            return paragraphs.add("\n");
          case "tbl":
            return tables.openTable();
          case "tr":
            return tables.openRow();
          case "tc":
            return tables.openCell();
          default:
            return;
        }
      },
      text(text) {
        if (inText) paragraphs.add(text);
      },
      close(tag) {
        switch (localName(tag)) {
          case "t":
            inText = false;
            return;
          case "p": {
            const words = paragraphs.close();
            if (FURNITURE.has(placeholder) || words.trim() === "") return;
            if (tables.inCell) tables.add(words);
            else blocks.push(words);
            if (title === null && TITLES.has(placeholder)) title = words;
            return;
          }
          case "tc":
            return tables.closeCell();
          case "tbl": {
            const rows = tables.closeTable();
            if (rows !== null) blocks.push(rows);
            return;
          }
          default:
            return;
        }
      },
    },
    name,
  );
  return { title, blocks };
}
