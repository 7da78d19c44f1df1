/** HTML as text: what a reader sees, in order; never its scripts, addresses, pictures or forms. */
import { decodeText } from "../decode-text.ts";
import type { Extracted } from "../extracted.ts";
import { Tables, TextBuilder } from "./text-builder.ts";
import { localName, readMarkup, type XmlHandler } from "./xml.ts";

const SKIPPED: ReadonlySet<string> = new Set([
  "head",
  "title",
  "script",
  "style",
  "template",
  "noscript",
  "nav",
  "form",
  "svg",
  "math",
  "img",
  "iframe",
  "object",
  "rt",
  "rp",
]);
/** Elements that stand on lines of their own. */
const BLOCKS: ReadonlySet<string> = new Set(
  `address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer h1 h2 h3 h4
  h5 h6 header hgroup hr html li main ol p pre section summary table ul`.split(/\s+/),
);

/** @throws TarnError `document-broken` where it nests too deep */
export function extractHtml(bytes: Uint8Array, name: string): Extracted {
  const head = Buffer.from(bytes.subarray(0, 2048)).toString("latin1");
  const declared = /<meta[^>]+charset\s*=\s*["']?([\w-]+)/i.exec(head)?.[1] ?? null;
  const { text, notice } = decodeText(bytes, declared);
  const builder = new TextBuilder(name);
  readMarkup(text, htmlInto(builder), name, "html");
  return { ...builder.finish(), pageUnit: null, notice };
}

/** Puts a page's words into a text. Feed it with `readMarkup`. */
export function htmlInto(builder: TextBuilder): XmlHandler {
  const tables = new Tables();
  let words = "";
  let skipped = 0;
  let kept = 0;
  const lists: ("ul" | number)[] = [];

  function flush(): void {
    if (words.trim() !== "") {
      if (tables.inCell) tables.add(words);
      else builder.paragraph(words);
    }
    words = "";
  }
  function open(tag: string): void {
    switch (tag) {
      case "br":
        words = `${words.trimEnd()}\n`;
        return;
      case "table":
        return tables.openTable();
      case "tr":
        return tables.openRow();
      case "td":
      case "th":
        return tables.openCell();
      case "pre":
        kept++;
        return;
      case "ul":
        lists.push("ul");
        return;
      case "ol":
        lists.push(1);
        return;
      case "li": {
        const list = lists.at(-1);
        if (typeof list === "number") {
          words = `${list}. `;
          lists[lists.length - 1] = list + 1;
        } else words = "- ";
        return;
      }
      default:
        return;
    }
  }
  function close(tag: string): void {
    switch (tag) {
      case "td":
      case "th":
        flush();
        return tables.closeCell();
      case "table": {
        const rows = tables.closeTable();
        if (rows !== null) builder.table(rows);
        return;
      }
      case "pre":
        kept--;
        return;
      case "ul":
      case "ol":
        lists.pop();
        return;
      default:
        return;
    }
  }
  return {
    open(name) {
      const tag = localName(name);
      if (SKIPPED.has(tag)) skipped++;
      if (skipped > 0) return;
      if (BLOCKS.has(tag) && !(words === "- " || /^\d+\. $/.test(words))) flush();
      open(tag);
    },
    text(text) {
      if (skipped > 0) return;
      if (kept > 0) words += text;
      else {
        const clean = text.replaceAll(/\s+/g, " ");
        words += words === "" || /\s$/.test(words) ? clean.trimStart() : clean;
      }
    },
    close(name) {
      const tag = localName(name);
      if (SKIPPED.has(tag)) skipped--;
      else if (skipped === 0) {
        if (BLOCKS.has(tag)) flush();
        close(tag);
      }
    },
    end: flush,
  };
}
