/** How every format's text is put together: paragraphs apart by a blank line, a table's rows on lines, its cells apart by " | ". */
import { TarnError } from "../../../contract/errors.ts";
import type { PageStart } from "../../../store/records.ts";

/** UTF-16 units that a document may have: 256 MB of memory, some 13 million tokens. */
export const MAX_CHARACTERS = 64_000_000;
/** Titles are shown in one line. */
const MAX_TITLE = 200;
const CELL = " | ";

export class TextBuilder {
  readonly #name: string;
  readonly #pieces: string[] = [];
  readonly #pages: PageStart[] = [];
  /** Pages that began and have no text yet. */
  #begun: { readonly title: string | null }[] = [];
  #length = 0;

  /** @param name of the file, for messages */
  constructor(name: string) {
    this.#name = name;
  }

  /** The next text begins a page, slide, sheet or chapter. */
  page(title: string | null): void {
    this.#begun.push({ title });
  }

  /** One without words is left out. */
  paragraph(text: string): void {
    const clean = text.replaceAll(/[^\S\n]+\n/g, "\n").trim();
    if (clean !== "") this.#put(clean, "\n\n");
  }

  /** A table's rows; those without words, and empty cells at the end, are left out. */
  table(rows: readonly (readonly string[])[]): void {
    let between = "\n\n";
    for (const cells of rows) {
      const words = cells.map((cell) => cell.replaceAll(/\s+/g, " ").trim());
      const last = words.findLastIndex((cell) => cell !== "");
      if (last < 0) continue;
      this.#put(words.slice(0, last + 1).join(CELL), between);
      between = "\n";
    }
  }

  /** What was put together. `pages` is null where none was begun. */
  finish(): { readonly text: string; readonly pages: readonly PageStart[] | null } {
    this.#startPages();
    return {
      text: this.#pieces.join(""),
      pages: this.#pages.length === 0 ? null : this.#pages,
    };
  }

  #put(text: string, between: string): void {
    const separator = this.#length === 0 ? "" : this.#begun.length > 0 ? "\n\n" : between;
    this.#length += separator.length;
    if (separator !== "") this.#pieces.push(separator);
    this.#startPages();
    this.#length += text.length;
    if (this.#length > MAX_CHARACTERS)
      throw new TarnError(
        "document-too-large",
        `"${this.#name}" has more than ${MAX_CHARACTERS / 1e6} million characters. Nothing was added; attach a smaller part of it.`,
        { name: this.#name, limit: MAX_CHARACTERS },
      );
    this.#pieces.push(text);
  }

  #startPages(): void {
    for (const { title } of this.#begun) {
      const clean = title?.replaceAll(/\s+/g, " ").trim().slice(0, MAX_TITLE) ?? "";
      const start = { page: this.#pages.length + 1, start: this.#length };
      this.#pages.push(clean === "" ? start : { ...start, title: clean });
    }
    this.#begun = [];
  }
}

/** What a cell or a paragraph collects while it is open: text boxes and notes nest paragraphs. */
export class Paragraphs {
  readonly #open: string[] = [];

  get isOpen(): boolean {
    return this.#open.length > 0;
  }

  open(): void {
    this.#open.push("");
  }

  add(text: string): void {
    const last = this.#open.length - 1;
    if (last >= 0) this.#open[last] += text;
  }

  /** The innermost one's text. */
  close(): string {
    return this.#open.pop() ?? "";
  }
}

/** Tables while they are read: one in a cell becomes words of that cell. */
export class Tables {
  readonly #open: { rows: string[][]; cell: string[] | null }[] = [];

  get inCell(): boolean {
    return (this.#open.at(-1)?.cell ?? null) !== null;
  }

  openTable(): void {
    this.#open.push({ rows: [], cell: null });
  }

  openRow(): void {
    this.#open.at(-1)?.rows.push([]);
  }

  openCell(): void {
    const table = this.#open.at(-1);
    if (table !== undefined) table.cell = [];
  }

  /** A paragraph of the open cell. */
  add(text: string): void {
    this.#open.at(-1)?.cell?.push(text);
  }

  /** @param times how often the cell stands there */
  closeCell(times = 1): void {
    const table = this.#open.at(-1);
    if (table === undefined || table.cell === null) return;
    const words = table.cell.join(" ").trim();
    if (table.rows.length === 0) table.rows.push([]);
    for (let one = 0; one < times; one++) table.rows.at(-1)?.push(words);
    table.cell = null;
  }

  /** The innermost table's rows, or null where it lay in a cell, whose words they became. */
  closeTable(): readonly (readonly string[])[] | null {
    const table = this.#open.pop();
    if (table === undefined) return null;
    if (!this.inCell) return table.rows;
    for (const row of table.rows) this.add(row.join(" "));
    return null;
  }
}
