import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { extract } from "../extract.ts";
import type { Extracted } from "../extracted.ts";

const folder = new URL("../../../../e2e/fixtures/documents/", import.meta.url);
const bytesOf = (file: string): Uint8Array => new Uint8Array(readFileSync(new URL(file, folder)));
const read = (file: string): Promise<Extracted> => extract(file, "", bytesOf(file));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const WORDS = [
  "its keeper is called Ilse Brandt.",
  "Smørrebrød, Καλημέρα and 雪 are words",
  "The key hangs behind the third beam.",
];
const TABLE = "Month | Guests | Snow (cm)\nMay | 48 | 120\nJune | 131 | 15\nJuly | 402 | 0";

test.for(
  ["pandoc", "libreoffice"].flatMap((maker) =>
    ["docx", "odt", "rtf", "epub"].map((type) => `hut.${maker}.${type}`),
  ),
)("%s: paragraphs apart, the table's rows on lines, its cells apart", async (file) => {
  const { text } = await read(file);
  for (const words of WORDS) expect(text).toContain(words);
  expect(text).toContain(`\n\n${TABLE}\n\n`);
  expect(text).toMatch(/Arrival\n\nThe hut lies/);
  expect(text).not.toMatch(/[<>{}\\]|\n\n\n/);
});

test("presentations: a page a slide, titled, with its table and its notes", async () => {
  for (const file of ["hut.pandoc.pptx", "hut.libreoffice.odp"]) {
    const { text, pages, pageUnit } = await read(file);
    expect(pageUnit).toBe("slide");
    expect(pages?.slice(0, 3).map(({ title }) => title)).toEqual([
      "The Hut Book",
      "Arrival",
      "Water",
    ]);
    expect(text.slice(pages?.[1]?.start, pages?.[2]?.start)).toContain(TABLE);
  }
  const { text } = await read("hut.pptxgenjs.pptx");
  expect(text).toContain("Month | Guests\nMay | 48\nJune | 131\n\nNotes:\n\nSay hello to Ilse.");
});

test("workbooks: a page a sheet, dates and formulas as they are shown", async () => {
  const { text, pages, pageUnit } = await read("hut.exceljs.xlsx");
  expect(pageUnit).toBe("sheet");
  expect(pages?.map(({ page, title }) => [page, title])).toEqual([
    [1, "Guests"],
    [2, "Water & wood"],
    [3, "Empty"],
  ]);
  expect(text.slice(0, pages?.[1]?.start)).toBe(
    "Guests\n\nMonth | Guests | Opened | Fee\nMay | 48 | 2026-05-14 | 12.5\nJune | 131 | 2026-06-01 18:30:00 | 0.3\nSum | 179 |  |  | TRUE | bold\n\n",
  );
  for (const file of ["hut.libreoffice.xlsx", "hut.libreoffice.ods"])
    expect((await read(file)).text).toContain(
      'May | 48 | 120 | 2026-05-14\nJune | 131 | 15.5 | 2026-06-01\nJuly "high" | 402 | 0 | 2026-07-01',
    );
});

test("Word: what was deleted is gone, what was inserted is there, notes stand at the end, a table in a cell is its words", async () => {
  expect((await read("hut.docxjs.docx")).text).toBe(
    "Arrival\n\nThe keeper is Ilse Brandt.[1]\n\nMonth | Guests\nMay | in side\n\nleft\tright\nbelow\n\nShe came in 1998.",
  );
});

test("books: a page a chapter, titled by the book's contents", async () => {
  const { pages, pageUnit } = await read("hut.pandoc.epub");
  expect(pageUnit).toBe("chapter");
  expect(pages?.map(({ title }) => title)).toEqual(["The Hut Book", "Arrival", "Water"]);
});

test("PDF: a heading is a paragraph, a table's rows stand on lines, pages are where they are", async () => {
  const { text, pages } = await read("hut.libreoffice.pdf");
  expect(text).toContain("Arrival\n\nThe hut lies at 2,140 m");
  expect(text).toContain("\nJune | 131 | 15\nJuly | 402 | 0");
  expect(text.slice(pages?.[1]?.start)).toMatch(/^Water/);
});

test("comma-separated values: quotes, separators in cells, other separators; a text without columns stays", async () => {
  expect((await read("hut.csv")).text).toBe(
    'Month | Guests | Snow, cm | Opened\nMay | 48 | 120 | 2026-05-14\nJune | 131 | 15.5 | 2026-06-01\nJuly "high" | 402 | 0 | 2026-07-01',
  );
  const csv = async (text: string) => (await extract("a.csv", "", utf8(text))).text;
  expect(await csv('a;b\n1;"two\nlines"\n3;4\n')).toBe("a | b\n1 | two lines\n3 | 4");
  expect(await csv("a\tb\n\n1\t2")).toBe("a | b\n1 | 2");
  expect(await csv("One line, then\nanother one.")).toBe("One line, then\nanother one.");
});

test("JSON without line breaks is indented; other JSON, and what is none, stays", async () => {
  const json = async (text: string) => (await extract("a.json", "", utf8(text))).text;
  const long = JSON.stringify({ list: Array.from({ length: 900 }, (_, one) => one) });
  expect(await json(long)).toBe(JSON.stringify(JSON.parse(long), null, 1));
  expect(await json('{"a":  1}')).toBe('{"a":  1}');
  expect(await json(`${long}{`)).toBe(`${long}{`);
  const deep = "[".repeat(50_000) + "]".repeat(50_000);
  expect(await json(deep)).toBe(deep);
});

test("HTML: lists, tables, preformatted text, ruby, hidden parts", async () => {
  const html = `<!doctype html><title>t</title><nav>skip</nav><p>One<br>two</p><ol><li><p>first</p><li>second</ol>
    <table><tr><th>a<th>b<tr><td>1<td>2</table><pre>x
  y</pre><ruby>雪<rt>yuki</rt></ruby><script>alert(1)</script><style>p{}</style>&copy;&nbsp;x`;
  expect((await extract("a.html", "", utf8(html))).text).toBe(
    "One\ntwo\n\n1. first\n\n2. second\n\na | b\n1 | 2\n\nx\n  y\n\n雪© x",
  );
});

test("RTF: letters of other code pages, by number, and two-byte ones; raw bytes are passed over", async () => {
  const rtf = async (body: string) =>
    (
      await extract(
        "a.rtf",
        "",
        utf8(`{\\rtf1\\ansi\\ansicpg1251{\\fonttbl{\\f0 A;}{\\f1\\fcharset128 B;}}${body}}`),
      )
    ).text;
  expect(await rtf("\\'cf\\'f0\\'e8\\'e2\\'e5\\'f2")).toBe("Привет");
  expect(await rtf("{\\f1 \\'90\\'e1} \\u38634\\'3f \\uc2\\u8364 ??.")).toBe("雪 雪 €.");
  expect(await rtf("a{\\*\\unknown hidden}{\\pict\\bin5 }}}}}x}b\\emdash\\{c\\}")).toBe("ab—{c}");
  const { pages, text } = await extract("a.rtf", "", utf8("{\\rtf1 one\\par\\page two}"));
  expect(pages?.map(({ start }) => text.slice(start))).toEqual(["one\n\ntwo", "two"]);
});

test("UTF-16 without a mark is known by its zeros; source code stays as it is", async () => {
  const text = "Zwölf Boxkämpfer jagen Viktor.\nΚαλημέρα 雪";
  const little = Buffer.from(text, "utf16le");
  expect((await extract("a.txt", "", new Uint8Array(little))).text).toBe(text);
  expect((await extract("a.txt", "", new Uint8Array(Buffer.from(little).swap16()))).text).toBe(
    text,
  );
  const code = "if (a < b) {\n\treturn `<p>${x}</p>`;\n}\n";
  expect((await extract("a.ts", "", utf8(code))).text).toBe(code);
});
