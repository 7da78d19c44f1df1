import { readFileSync } from "node:fs";
import { PDFDocument, PDFHexString, PDFName, StandardFonts } from "pdf-lib";
import { describe, expect, test, vi } from "vitest";
import { decodeText } from "./decode-text.ts";
import { joinLines } from "./extract-pdf.ts";
import { extractInThread } from "./extractor.ts";
import { cutPassages, pageAt } from "./passages.ts";

async function pdfOf(pages: readonly (readonly string[])[]): Promise<PDFDocument> {
  const pdf = await PDFDocument.create();
  const font = await pdf.embedFont(StandardFonts.Helvetica);
  for (const lines of pages) {
    const page = pdf.addPage([595, 842]);
    for (const [index, line] of lines.entries())
      page.drawText(line, { x: 50, y: 780 - 16 * index, size: 12, font });
  }
  return pdf;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("extraction", () => {
  test("a PDF gives each page's text, words broken at a line's end joined", async () => {
    const pdf = await pdfOf([
      ["The lighthouse keeper wrote a long let-", "ter to his sister."],
      ["Second page."],
      ["Third page."],
    ]);
    const { text, pages } = await extractInThread("a.pdf", "application/pdf", await pdf.save());
    expect(text).toBe(
      "The lighthouse keeper wrote a long letter to his sister.\n\nSecond page.\n\nThird page.",
    );
    expect(pages).toEqual([
      { page: 1, start: 0 },
      { page: 2, start: 58 },
      { page: 3, start: 72 },
    ]);
    expect(pageAt(pages, 71)).toBe(2);
  });

  test("lines of a page that is set wide are one paragraph; a gap beyond the page's usual one begins the next", () => {
    const line = (str: string, y: number) => ({
      str,
      dir: "ltr",
      transform: [12, 0, 0, 12, 60, y],
      width: 100,
      height: 12,
      fontName: "f",
      hasEOL: true,
    });
    const wide = [
      line("The hut opens", 700),
      line("in May, when", 678),
      line("the snow is gone.", 656),
    ];
    expect(joinLines(wide)).toBe("The hut opens in May, when the snow is gone.");
    expect(joinLines([...wide, line("Bring a lamp.", 620)])).toBe(
      "The hut opens in May, when the snow is gone.\n\nBring a lamp.",
    );
  });

  test("an encrypted PDF is refused with what to do", async () => {
    const pdf = await pdfOf([["secret"]]);
    const entry = pdf.context.obj({ Filter: "Standard", V: 1, R: 2, P: -4 });
    entry.set(PDFName.of("O"), PDFHexString.of("ab".repeat(32)));
    entry.set(PDFName.of("U"), PDFHexString.of("cd".repeat(32)));
    pdf.context.trailerInfo.Encrypt = pdf.context.register(entry);
    pdf.context.trailerInfo.ID = pdf.context.obj([
      PDFHexString.of("00".repeat(16)),
      PDFHexString.of("00".repeat(16)),
    ]);
    await expect(
      extractInThread("a.pdf", "application/pdf", await pdf.save({ useObjectStreams: false })),
    ).rejects.toMatchObject({
      code: "document-encrypted",
      message: expect.stringContaining("locked with a password. Nothing was added"),
    });
  });

  test("a PDF of images only is refused and says which pages", async () => {
    const pdf = await PDFDocument.create();
    const image = await pdf.embedPng(
      Buffer.from(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
        "base64",
      ),
    );
    for (let page = 0; page < 3; page++) pdf.addPage().drawImage(image);
    await expect(
      extractInThread("scan.pdf", "application/pdf", await pdf.save()),
    ).rejects.toMatchObject({
      code: "document-no-text",
      message: expect.stringContaining("Pages 1-3 hold images, no text"),
    });
  });

  test("a damaged PDF, an empty file, a blank file, a program and a giant are refused", async () => {
    const code = async (name: string, bytes: Uint8Array): Promise<string> =>
      extractInThread(name, "", bytes).then(
        () => "none",
        (cause: { readonly code: string }) => cause.code,
      );
    expect(await code("a.pdf", utf8("%PDF-1.7 and then nothing"))).toBe("document-broken");
    expect(await code("a.txt", new Uint8Array())).toBe("document-empty");
    expect(await code("a.txt", utf8(" \n "))).toBe("document-no-text");
    expect(await code("a.exe", Uint8Array.of(0x4d, 0x5a, 0, 0, 1))).toBe("document-unsupported");
    expect(await code("a.txt", new Uint8Array(200 * 2 ** 20))).toBe("document-too-large");
  });

  test("a PDF whose pages lie elsewhere than its table says is read; one without a catalogue is refused", async () => {
    const url = new URL("../../../e2e/fixtures/documents/hut.libreoffice.pdf", import.meta.url);
    const whole = readFileSync(url, "latin1");
    const table = whole.lastIndexOf("0000000000 65535 f");
    let astray = whole;
    // The objects of its two pages.
    for (const number of [1, 4]) {
      const at = table + 20 * number;
      const offset = Number(whole.slice(at, at + 10)) + 3;
      astray = `${astray.slice(0, at)}${String(offset).padStart(10, "0")}${astray.slice(at + 10)}`;
    }
    const read = (file: string) => extractInThread("a.pdf", "", Buffer.from(file, "latin1"));
    expect(await read(astray)).toEqual(await read(whole));
    await expect(read(astray.replace("\n33 0 obj", "\n33 0 xxx"))).rejects.toMatchObject({
      code: "document-broken",
    });
  });

  test("a file that takes too long is given up", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const limits = { ms: 180_000, megabytes: 64 };
      const refused = expect(
        extractInThread("a.txt", "", utf8("words"), limits),
      ).rejects.toMatchObject({
        code: "document-broken",
        message: expect.stringContaining("longer than 180 seconds"),
      });
      // Before anything that the thread says can be heard.
      vi.advanceTimersByTime(limits.ms);
      await refused;
    } finally {
      vi.useRealTimers();
    }
  });

  test("HTML gives its words, not its scripts, addresses or images", async () => {
    const html = `<html><head><title>t</title><script>alert(1)</script></head><body><h1>Caf&eacute;</h1><p>Go <a href="http://x.example">there</a>.<img src="http://y.example/z.png"></p></body></html>`;
    expect((await extractInThread("a.html", "text/html", utf8(html))).text).toBe(
      "Café\n\nGo there.",
    );
  });

  test("text is decoded by its mark, as UTF-8, or as Windows-1252 with a notice", () => {
    expect(decodeText(Buffer.from("\ufeffa\r\nb", "utf16le"))).toEqual({
      text: "a\nb",
      notice: null,
    });
    expect(decodeText(utf8("\ufeffé")).text).toBe("é");
    const guessed = decodeText(Uint8Array.of(0x63, 0x61, 0x66, 0xe9, 0x20, 0x80));
    expect(guessed.text).toBe("café €");
    expect(guessed.notice).toContain("Windows-1252");
  });
});

describe("passages", () => {
  const sentence = "One two three four five six seven eight nine ten.";

  test("have 120 to 180 words, end with sentences, and lie where they say", () => {
    const text = Array.from({ length: 100 }, () => sentence).join(" ");
    const passages = cutPassages(text, null);
    expect(passages).toHaveLength(9);
    for (const passage of passages) {
      expect(passage.text).toBe(text.slice(passage.start, passage.end));
      expect(passage.text.split(" ").length).toBeLessThanOrEqual(180);
      expect(passage.text.endsWith("ten.")).toBe(true);
    }
    expect(passages.map((passage) => passage.text).join(" ")).toBe(text);
  });

  test("keep to their page", () => {
    const passages = cutPassages("First page.\n\nSecond page.", [
      { page: 1, start: 0 },
      { page: 2, start: 13 },
    ]);
    expect(passages.map(({ page, text }) => ({ page, text }))).toEqual([
      { page: 1, text: "First page." },
      { page: 2, text: "Second page." },
    ]);
  });
});
