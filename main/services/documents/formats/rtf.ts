/** Rich Text Format (Microsoft, RTF 1.9.1): its words, tables' cells, and pages where it breaks them by hand. */
import { TarnError } from "../../../contract/errors.ts";
import type { Extracted } from "../extracted.ts";
import { TextBuilder } from "./text-builder.ts";

/** Groups of real files nest some ten deep. */
const MAX_DEPTH = 1000;

/** Groups that hold no words of the document. */
const SILENT: ReadonlySet<string> = new Set(
  `fonttbl colortbl stylesheet listtable listoverridetable revtbl rsidtbl info pict object objdata header headerl headerr headerf
  footer footerl footerr footerf generator themedata colorschememapping datastore latentstyles xmlnstbl fldinst bkmkstart
  bkmkend annotation atnid atnauthor atndate atnref template filetbl nonshppict wgrffmtfilter operator mmathPr pgdsctbl`.split(
    /\s+/,
  ),
);

/** Words for characters. */
const CHARACTERS: Readonly<Record<string, string>> = {
  tab: "\t",
  line: "\n",
  lquote: "‘",
  rquote: "’",
  ldblquote: "“",
  rdblquote: "”",
  bullet: "•",
  endash: "–",
  emdash: "—",
  emspace: " ",
  enspace: " ",
  "~": "\u00a0",
  _: "‑",
};

/** Windows code pages under the names that TextDecoder knows. */
const CODE_PAGES: Readonly<Record<number, string>> = {
  437: "windows-1252",
  850: "windows-1252",
  874: "windows-874",
  932: "shift_jis",
  936: "gbk",
  949: "euc-kr",
  950: "big5",
  1250: "windows-1250",
  1251: "windows-1251",
  1252: "windows-1252",
  1253: "windows-1253",
  1254: "windows-1254",
  1255: "windows-1255",
  1256: "windows-1256",
  1257: "windows-1257",
  1258: "windows-1258",
  10000: "macintosh",
  65001: "utf-8",
};
/** A font's character set (\fcharset) as code page. */
const CHARSETS: Readonly<Record<number, number>> = {
  0: 1252,
  77: 10000,
  128: 932,
  129: 949,
  134: 936,
  136: 950,
  161: 1253,
  162: 1254,
  163: 1258,
  177: 1255,
  178: 1256,
  186: 1257,
  204: 1251,
  222: 874,
  238: 1250,
};

interface Group {
  /** Its words are not the document's. */
  readonly silent: boolean;
  /** Units that stand for a character which is also given as \u. */
  readonly skip: number;
  /** Code page of its font. */
  readonly page: number | null;
  readonly inFonts: boolean;
  /** Its words are a note's, which stand at the end. */
  readonly note: boolean;
  /** Its paragraphs are a table's. */
  readonly inTable: boolean;
}

/** One thing of the file: `{`, `}`, a control word with its number, a byte by its number, or text. */
type Token =
  | { readonly type: "open" | "close" }
  | { readonly type: "word"; readonly word: string; readonly value: number | null }
  | { readonly type: "byte"; readonly value: number }
  | { readonly type: "text"; readonly text: string };

/** @throws TarnError `document-broken`, `document-too-large` */
export function extractRtf(bytes: Uint8Array, name: string): Extracted {
  const builder = new TextBuilder(name);
  const reader = new RtfReader(builder, name);
  const source = Buffer.from(bytes).toString("latin1");
  const hasPages = /\\page(?![a-z])/.test(source);
  if (hasPages) builder.page(null);
  for (const token of tokensOf(source)) reader.take(token, hasPages);
  reader.end();
  return { ...builder.finish(), pageUnit: hasPages ? "page" : null, notice: null };
}

function* tokensOf(source: string): Generator<Token> {
  const pattern =
    /\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|[{}]|[^\\{}]+/gs;
  for (let match = pattern.exec(source); match !== null; match = pattern.exec(source)) {
    const [all, word, number, hex, symbol] = match;
    if (word !== undefined) {
      const value = number === undefined ? null : Number(number);
      // Raw bytes follow, which may look like anything.
      if (word === "bin" && value !== null && value > 0) pattern.lastIndex += value;
      else yield { type: "word", word, value };
    } else if (hex !== undefined) yield { type: "byte", value: Number.parseInt(hex, 16) };
    else if (symbol !== undefined) {
      if (symbol === "\\" || symbol === "{" || symbol === "}") yield { type: "text", text: symbol };
      else
        yield {
          type: "word",
          word: symbol === "\n" || symbol === "\r" ? "par" : symbol,
          value: null,
        };
    } else if (all === "{") yield { type: "open" };
    else if (all === "}") yield { type: "close" };
    else yield { type: "text", text: all.replaceAll(/[\r\n]/g, "") };
  }
}

class RtfReader {
  readonly #builder: TextBuilder;
  readonly #name: string;
  readonly #groups: Group[] = [];
  readonly #fontPages = new Map<number, number>();
  #group: Group = {
    silent: false,
    skip: 1,
    page: null,
    inFonts: false,
    note: false,
    inTable: false,
  };
  #page = 1252;
  #font = 0;
  #words = "";
  #note = "";
  readonly #notes: string[] = [];
  /** Bytes of the code page that wait for those behind them: a character may take two. */
  #bytes: number[] = [];
  #row: string[] = [];
  #rows: string[][] = [];
  /** Units to leave out behind a \u. */
  #left = 0;

  constructor(builder: TextBuilder, name: string) {
    this.#builder = builder;
    this.#name = name;
  }

  take(token: Token, countPages: boolean): void {
    if (token.type !== "byte") this.#decodeBytes();
    switch (token.type) {
      case "open":
        this.#groups.push(this.#group);
        if (this.#groups.length > MAX_DEPTH)
          throw new TarnError(
            "document-broken",
            `"${this.#name}" is nested deeper than any document is (${MAX_DEPTH} levels). Nothing was added.`,
            { name: this.#name },
          );
        return;
      case "close": {
        const outer = this.#groups.pop() ?? this.#group;
        if (this.#group.note && !outer.note) {
          this.#notes.push(this.#note);
          this.#note = "";
        }
        this.#group = outer;
        this.#left = 0;
        return;
      }
      case "byte":
        if (this.#left > 0) this.#left--;
        else if (!this.#group.silent) this.#bytes.push(token.value);
        return;
      case "text":
        return this.#text(token.text);
      case "word":
        return this.#word(token.word, token.value, countPages);
    }
  }

  end(): void {
    this.#decodeBytes();
    this.#group = { ...this.#group, inTable: false, note: false };
    this.#endParagraph();
    this.#endTable();
    for (const note of this.#notes) this.#builder.paragraph(note);
  }

  #put(text: string): void {
    if (this.#group.note) this.#note += text;
    else this.#words += text;
  }

  #text(text: string): void {
    const rest = text.slice(this.#left);
    this.#left = Math.max(0, this.#left - text.length);
    // Beyond ASCII a file should not write; those that do mean their code page.
    if (!this.#group.silent && rest !== "")
      this.#put(/[\u0080-\u00ff]/.test(rest) ? this.#decode(Buffer.from(rest, "latin1")) : rest);
  }

  #word(word: string, value: number | null, countPages: boolean): void {
    const silence = (): void => void (this.#group = { ...this.#group, silent: true });
    if (word === "fonttbl") this.#group = { ...this.#group, silent: true, inFonts: true };
    else if (SILENT.has(word) || word === "*") return silence();
    switch (word) {
      case "ansicpg":
        if (value !== null && value in CODE_PAGES) this.#page = value;
        return;
      case "mac":
        this.#page = 10_000;
        return;
      case "uc":
        this.#group = { ...this.#group, skip: Math.min(Math.max(value ?? 1, 0), 8) };
        return;
      case "f":
        this.#font = value ?? 0;
        if (!this.#group.inFonts)
          this.#group = { ...this.#group, page: this.#fontPages.get(this.#font) ?? null };
        return;
      case "fcharset": {
        const page = CHARSETS[value ?? 0];
        if (this.#group.inFonts && page !== undefined) this.#fontPages.set(this.#font, page);
        return;
      }
      case "plain":
        this.#group = { ...this.#group, page: null };
        return;
      default:
    }
    // Written as one that old readers may leave out; its words are the document's all the same.
    if (word === "footnote") this.#group = { ...this.#group, silent: false, note: true };
    if (this.#group.silent) return;
    const character = CHARACTERS[word];
    if (character !== undefined) this.#put(character);
    else this.#layout(word, value, countPages);
  }

  #layout(word: string, value: number | null, countPages: boolean): void {
    switch (word) {
      case "u":
        // Signed 16 bits: beyond 32,767 they are written as negative numbers.
        this.#put(String.fromCharCode((value ?? 0) & 0xffff));
        this.#left = this.#group.skip;
        return;
      case "intbl":
        this.#group = { ...this.#group, inTable: true };
        return;
      case "pard":
        this.#group = { ...this.#group, inTable: false };
        return;
      case "par":
      case "sect":
        return this.#endParagraph();
      case "page":
        this.#endParagraph();
        this.#endTable();
        if (countPages) this.#builder.page(null);
        return;
      case "cell":
      case "nestcell":
        this.#row.push(this.#words);
        this.#words = "";
        return;
      case "row":
      case "nestrow":
        this.#rows.push(this.#row);
        this.#row = [];
        return;
      default:
        return;
    }
  }

  #endParagraph(): void {
    if (this.#group.note || this.#group.inTable || this.#row.length > 0) return this.#put(" ");
    if (this.#words.trim() === "") return;
    this.#endTable();
    this.#builder.paragraph(this.#words);
    this.#words = "";
  }

  #endTable(): void {
    if (this.#row.length > 0) this.#rows.push(this.#row);
    this.#row = [];
    if (this.#rows.length > 0) this.#builder.table(this.#rows);
    this.#rows = [];
  }

  #decodeBytes(): void {
    if (this.#bytes.length === 0) return;
    this.#put(this.#decode(Uint8Array.from(this.#bytes)));
    this.#bytes = [];
  }

  #decode(bytes: Uint8Array): string {
    const page = this.#group.page ?? this.#page;
    return new TextDecoder(CODE_PAGES[page] ?? "windows-1252").decode(bytes);
  }
}
