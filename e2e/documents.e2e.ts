/** The library as a user meets it: files are added and dropped, read, paused, asked as of a page; seen in light and dark. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openApp, type Opened, type TarnApp } from "./app.ts";
import { minutes } from "./document.ts";

let opened: Opened;
let app: TarnApp;

beforeAll(async () => {
  opened = await openApp();
  ({ app } = opened);
});
afterAll(() => opened?.close());

interface NamedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Drops files on the middle of the window, as from the desktop. */
async function drop(files: readonly NamedFile[]): Promise<void> {
  const transfer = await app.page.evaluateHandle(
    (list) => {
      const made = new DataTransfer();
      for (const { name, text } of list)
        made.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
      return made;
    },
    files.map(({ name, bytes }) => ({ name, text: Buffer.from(bytes).toString("base64") })),
  );
  for (const event of ["dragover", "drop"])
    await app.page.locator("main").dispatchEvent(event, { dataTransfer: transfer });
}

const fixture = (name: string): NamedFile => ({
  name,
  bytes: new Uint8Array(readFileSync(new URL(`fixtures/documents/${name}`, import.meta.url))),
});
const row = (name: string) => app.page.getByRole("row").filter({ hasText: name });

test("files of every kind are dropped on the window and listed with their sizes", async () => {
  await app.button("Documents").click();
  const pdf = { name: "minutes.pdf", bytes: await minutes(12, { 9: "The access code is 4821." }) };
  const kinds = ["docx", "odt", "rtf", "epub", "pptx"].map((kind) => `hut.pandoc.${kind}`);
  await drop([pdf, ...[...kinds, "hut.exceljs.xlsx", "hut.csv"].map(fixture)]);
  for (const name of ["minutes.pdf", ...kinds, "hut.exceljs.xlsx", "hut.csv"])
    await row(name).waitFor();
  expect(await row("minutes.pdf").innerText()).toContain("12 pages");
  expect(await row("hut.exceljs.xlsx").innerText()).toContain("3 sheets");
  expect(await row("hut.pandoc.pptx").innerText()).toContain("4 slides");
  await drop([fixture("hut.libreoffice.doc")]);
  await app.page.getByRole("alert").filter({ hasText: "save it as .docx" }).waitFor();
  expect(await app.inBothThemes("documents")).toEqual([]);
});

test("a document is read in the background, paused and resumed; then a chat begins behind it and reads its own words and one sentence again", async () => {
  // Reading all of it would take minutes: nobody can come too late to pause it.
  const line = "On this day the keeper of the hut wrote down who came and who went. ";
  const long = { name: "log.txt", bytes: new TextEncoder().encode(line.repeat(6000)) };
  await drop([long]);
  await app.button("Read log.txt").click();
  const bar = (name: string) => app.page.getByRole("progressbar", { name: `Reading ${name}` });
  const percent = async () => Number(await bar(long.name).getAttribute("aria-valuenow"));
  await expect.poll(percent).toBeGreaterThan(0);
  await app.screenshot("documents-reading.light");
  await app.button("Pause log.txt").click();
  await app.button("Resume log.txt").waitFor();
  expect(await app.inBothThemes("documents-paused")).toEqual([]);
  const paused = await percent();
  await app.button("Resume log.txt").click();
  await expect.poll(percent).toBeGreaterThan(paused);
  await app.button("Pause log.txt").click();
  await app.button("Resume log.txt").waitFor();

  await app.button("Read minutes.pdf").click();
  await app.button("Read minutes.pdf").waitFor({ state: "detached" });
  await bar("minutes.pdf").waitFor({ state: "detached" });
  expect(await app.inBothThemes("documents-read")).toEqual([]);
  await app.button("Ask minutes.pdf").click();
  await app.page.getByRole("radio", { name: /Read all of it/ }).check();
  await app.page.getByText("Read all of it 0 tokens").waitFor();
  await app.page.getByText(/where its words find nothing, asks \d+ parts: [\d,]+ tokens/).waitFor();
  await app.screenshot("document-costs.light");
  const answer = await app.ask("What is the access code?");
  expect(await answer.innerText()).toContain("4821");
  // The document has some thousands.
  expect(await app.prefilled(answer)).toBeLessThan(100);
  // What the answer stands on has one place to open, and no list of passages that says it again.
  expect(await answer.getByRole("button", { name: /^Open .*minutes\.pdf, p\. 9$/ }).count()).toBe(
    1,
  );
  expect(await app.inBothThemes("document-answer")).toEqual([]);
});

test("as of a page: the slider stands on checkpoints for nothing, by keyboard, and the chat has read no further", async () => {
  await app.button("Documents").click();
  await app.button("Open minutes.pdf").click();
  const thumb = app.page.getByRole("slider", { name: "As of page" });
  await thumb.focus();
  await thumb.press("Home");
  expect(await thumb.getAttribute("aria-valuetext")).toMatch(/^page 1 of 12/);
  await thumb.press("PageUp");
  expect(await thumb.getAttribute("aria-valuetext")).toContain("0 tokens to re-read");
  await thumb.press("ArrowRight");
  await app.page.getByRole("spinbutton", { name: "page number" }).fill("6");
  expect(await app.inBothThemes("document-as-of")).toEqual([]);
  await app.button("Ask as of page 6").click();
  await app.page.getByText("as of page 6").waitFor();
  const answer = await app.ask("What is the access code?");
  expect(await answer.innerText()).not.toContain("4821");
  const asOf = app.conversation.getByText("as of page 6");
  // Beside the question and its answer, now and after a reload.
  expect(await asOf.count()).toBe(2);
  await app.page.reload();
  await app.chats
    .getByRole("button", { name: /What is the access code/ })
    .first()
    .click();
  await asOf.nth(1).waitFor();
  expect(await app.inBothThemes("answer-as-of")).toEqual([]);
  expect(app.outside).toEqual([]);
  expect(app.complaints).toEqual([]);
});
