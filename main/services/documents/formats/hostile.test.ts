/** Files that are damaged, locked, empty, or made to do harm: a typed refusal, or words; never anything else. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { TarnError } from "../../../contract/errors.ts";
import { extract } from "../extract.ts";
import { openZip, ZIP_LIMITS } from "./zip.ts";
import { writeZip, type ZipPart } from "./zip.testing.ts";

const folder = new URL("../../../../e2e/fixtures/documents/", import.meta.url);
const bytesOf = (file: string): Uint8Array => new Uint8Array(readFileSync(new URL(file, folder)));

async function codeOf(name: string, bytes: Uint8Array): Promise<string> {
  try {
    const { text, pages } = await extract(name, "", bytes);
    for (const { start } of pages ?? []) expect(start).toBeLessThanOrEqual(text.length);
    return "read";
  } catch (cause) {
    if (cause instanceof TarnError && cause.code.startsWith("document-")) return cause.code;
    throw cause;
  }
}

const TYPES = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>';
const officeParts = (main: string, xml: string): ZipPart[] => [
  { name: "[Content_Types].xml", data: TYPES },
  {
    name: "_rels/.rels",
    data: `<Relationships><Relationship Id="r" Type="x/officeDocument" Target="${main}"/></Relationships>`,
  },
  { name: main, data: xml },
];
const docx = (xml: string): Uint8Array => writeZip(officeParts("word/document.xml", xml));
const odt = (xml: string): Uint8Array =>
  writeZip([
    { name: "mimetype", data: "application/vnd.oasis.opendocument.text" },
    { name: "content.xml", data: xml },
  ]);

test("a ZIP bomb is refused before it is unpacked", async () => {
  const zeros = new Uint8Array(64 * 2 ** 20);
  const bomb = writeZip([
    ...officeParts("word/document.xml", ""),
    { name: "word/footnotes.xml", data: zeros },
  ]);
  expect(() => openZip(bomb, "a").read("word/footnotes.xml")).toThrow(/unpacks to far more/);
  expect(
    await codeOf(
      "a.docx",
      writeZip(officeParts("word/document.xml", Buffer.from(zeros).fill(32).toString())),
    ),
  ).toBe("document-too-large");
});

test("an entry that says it is smaller than it is, or another, is refused", () => {
  const parts = (lie: ZipPart["lie"]): Uint8Array =>
    writeZip([{ name: "a", data: "words ".repeat(1000), ...(lie === undefined ? {} : { lie }) }]);
  expect(openZip(parts(undefined), "z").read("a")).toHaveLength(6000);
  expect(() => openZip(parts({ size: 10 }), "z").read("a")).toThrow(/cannot be unpacked/);
  expect(() => openZip(parts({ size: 7000 }), "z").read("a")).toThrow(/checksum/);
  expect(() => openZip(parts({ size: 0xffff_fff0 }), "z").read("a")).toThrow(/unpacks to far more/);
  expect(() => openZip(parts({ crc: 1 }), "z").read("a")).toThrow(/checksum/);
  expect(() => openZip(parts({ flags: 1 }), "z").read("a")).toThrow(/locked with a password/);
});

test("all entries together have one budget, and an archive a number of entries", () => {
  const parts = Array.from({ length: 5 }, (_, index) => ({
    name: `${index}`,
    data: "x".repeat(1000),
  }));
  const zip = openZip(writeZip(parts), "z", { ...ZIP_LIMITS, bytes: 3500 });
  for (const name of ["0", "1", "2"]) expect(zip.read(name)).toHaveLength(1000);
  expect(() => zip.read("3")).toThrow(/unpacks to far more/);
  expect(() => openZip(writeZip(parts), "z", { ...ZIP_LIMITS, entries: 4 })).toThrow(/far more/);
});

test("entities do not expand, and none is fetched", async () => {
  const laughs = Array.from(
    { length: 9 },
    (_, n) => `<!ENTITY l${n + 1} "${`&l${n};`.repeat(10)}">`,
  ).join("");
  const xml = `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">${laughs}<!ENTITY f SYSTEM "file:///etc/passwd">]>`;
  const body =
    "<w:document><w:body><w:p><w:r><w:t>a&l9;&f;&lt;b</w:t></w:r></w:p></w:body></w:document>";
  const { text } = await extract("a.docx", "", docx(xml + body));
  expect(text).toBe("a&l9;&f;<b");
});

test("nesting deeper than any document is refused; tables in tables become words", async () => {
  const deep = (tag: string, depth: number, inside = ""): string =>
    `<${tag}>`.repeat(depth) + inside + `</${tag}>`.repeat(depth);
  expect(await codeOf("a.docx", docx(deep("w:p", 100_000)))).toBe("document-broken");
  expect(await codeOf("a.odt", odt(deep("text:p", 100_000)))).toBe("document-broken");
  expect(await codeOf("a.html", Buffer.from(deep("div", 100_000)))).toBe("document-broken");
  expect(await codeOf("a.rtf", Buffer.from(`{\\rtf1${"{".repeat(100_000)}`))).toBe(
    "document-broken",
  );
  const cells = "<table><tr><td>".repeat(300) + "in" + "</td></tr></table>".repeat(300);
  expect((await extract("a.html", "", Buffer.from(cells))).text).toBe("in");
});

test("cells that say they stand there a million times do not", async () => {
  const cell =
    '<table:table-cell table:number-columns-repeated="1000000"><text:p>x</text:p></table:table-cell>';
  const { text } = await extract(
    "a.odt",
    "",
    odt(
      `<office:body><table:table><table:table-row>${cell}</table:table-row></table:table></office:body>`,
    ),
  );
  expect(text.length).toBeLessThan(1000);
  const sheet = '<worksheet><sheetData><row><c r="ZZZ1"><v>7</v></c></row></sheetData></worksheet>';
  const xlsx = writeZip([
    ...officeParts(
      "xl/workbook.xml",
      '<workbook><sheets><sheet name="s" r:id="a"/></sheets></workbook>',
    ),
    {
      name: "xl/_rels/workbook.xml.rels",
      data: '<Relationships><Relationship Id="a" Type="x/worksheet" Target="sheet.xml"/></Relationships>',
    },
    { name: "xl/sheet.xml", data: sheet },
  ]);
  expect((await extract("a.xlsx", "", xlsx)).text.length).toBeLessThan(500);
});

test("each refusal says what is wrong and what to do", async () => {
  const refusal = async (name: string, bytes: Uint8Array) =>
    extract(name, "", bytes).then(
      () => "read",
      (cause: TarnError) => `${cause.code}: ${cause.message}`,
    );
  const compound = Buffer.concat([Buffer.from("d0cf11e0a1b11ae1", "hex"), Buffer.alloc(512)]);
  const locked = Buffer.concat([compound, Buffer.from("EncryptedPackage", "utf16le")]);
  expect(await refusal("a.docx", locked)).toMatch(/^document-encrypted: .*without the password/);
  expect(await refusal("hut.doc", bytesOf("hut.libreoffice.doc"))).toMatch(
    /^document-unsupported: .*save it as \.docx/,
  );
  expect(await refusal("a.zip", writeZip([{ name: "x.txt", data: "x" }]))).toMatch(
    /unpack it and attach/,
  );
  expect(await refusal("a.docx", docx("<w:document/>"))).toMatch(/^document-no-text: /);
  expect(await refusal("a.docx", bytesOf("hut.pandoc.docx").subarray(0, 6000))).toMatch(
    /^document-broken: .*save it again/,
  );
  const drm = writeZip([
    { name: "mimetype", data: "application/epub+zip" },
    {
      name: "META-INF/encryption.xml",
      data: '<e><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e>',
    },
  ]);
  expect(await refusal("a.epub", drm)).toMatch(/^document-encrypted: .*publisher/);
  const lockedOdt = writeZip([
    { name: "mimetype", data: "application/vnd.oasis.opendocument.text" },
    { name: "META-INF/manifest.xml", data: "<m><manifest:encryption-data/></m>" },
    { name: "content.xml", data: "noise" },
  ]);
  expect(await refusal("a.odt", lockedOdt)).toMatch(/^document-encrypted: /);
});

const FUZZED = [
  "hut.pandoc.docx",
  "hut.pandoc.odt",
  "hut.pandoc.epub",
  "hut.pptxgenjs.pptx",
  "hut.exceljs.xlsx",
  "hut.pandoc.rtf",
  "hut.libreoffice.pdf",
  "hut.csv",
] as const;

test.for(FUZZED)(
  "%s: whatever bytes are changed, cut out or put in, it is read or refused",
  async (file) => {
    const original = bytesOf(file);
    const place = fc.nat({ max: original.length - 1 });
    const edits = fc.array(fc.tuple(place, fc.nat({ max: 24 }), fc.uint8Array({ maxLength: 12 })), {
      minLength: 1,
      maxLength: 6,
    });
    await fc.assert(
      fc.asyncProperty(edits, async (changes) => {
        let bytes = Buffer.from(original);
        for (const [at, removed, added] of changes)
          bytes = Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
        await codeOf(file, new Uint8Array(bytes));
      }),
      { numRuns: file.endsWith(".pdf") ? 30 : 150 },
    );
  },
);

/** Checksums catch nearly every change of an archive; so what lies inside is changed, and packed anew. */
test.for(FUZZED.filter((file) => /docx|odt|epub|pptx|xlsx/.test(file)))(
  "%s: whatever is changed in its parts, it is read or refused",
  async (file) => {
    const zip = openZip(bytesOf(file), file);
    const parts = zip.names.map((name) => ({ name, data: zip.read(name) ?? new Uint8Array() }));
    const noise = fc.oneof(
      fc.constantFrom(
        "<",
        ">",
        "</w:p>",
        "<w:tbl>",
        "<table:table>",
        '<c r="A1"/>',
        "&#x110000;",
        "\0",
        "]]>",
        "<![CDATA[",
        "<!--",
        '"',
      ),
      fc.string({ maxLength: 8 }),
    );
    const edit = fc.tuple(fc.nat(), fc.nat(), fc.nat({ max: 40 }), noise);
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 8 }), async (edits) => {
        const changed = parts.map((part) => ({ ...part }));
        for (const [which, where, removed, added] of edits) {
          const part = changed[which % changed.length];
          if (part === undefined) continue;
          const data = Buffer.from(part.data);
          const at = data.length === 0 ? 0 : where % data.length;
          part.data = Buffer.concat([
            data.subarray(0, at),
            Buffer.from(added),
            data.subarray(at + removed),
          ]);
        }
        await codeOf(file, writeZip(changed));
      }),
      { numRuns: 100 },
    );
  },
);
