/** A chat's branches and the memory map of a document, as a user meets them; seen in light and dark. */
import type { Locator } from "playwright";
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

const view = (name: string) =>
  app.page.getByRole("radiogroup", { name: "View" }).getByText(name, { exact: true });
const cards = () => app.page.getByRole("region", { name: "Compare answers" }).getByRole("article");
const rows = () => app.page.getByRole("treeitem");
const hasFocus = (one: Locator): Promise<boolean> =>
  one.evaluate((element) => element === document.activeElement);

test("several answers are written in one batch and stand side by side; nothing is read for them", async () => {
  await app.ask("Tell me about the lake.");
  await view("Branches").click();
  await rows().nth(1).waitFor();
  expect(await rows().count()).toBe(2);
  await app.page.getByRole("radiogroup", { name: "Answers" }).getByText("4").click();
  await app.button("Answer again").click();
  await expect.poll(() => cards().count()).toBe(5);
  await app.button("Answer again").waitFor();
  const seeds = async (): Promise<number> => {
    const texts = await cards().locator(".small").allInnerTexts();
    return new Set(texts.filter((text) => text.includes("seed"))).size;
  };
  await expect.poll(seeds).toBe(4);
  const wordless = async (): Promise<number> => {
    const texts = await cards().locator(".an-text").allInnerTexts();
    return texts.filter((text) => text.trim() === "").length;
  };
  await expect.poll(wordless).toBe(0);
  expect(await app.inBothThemes("branches")).toEqual([]);
});

test("the tree is walked by keys, a digit finds an answer, and Enter goes on from it", async () => {
  await rows().last().focus();
  await app.page.keyboard.press("Home");
  await expect.poll(() => hasFocus(rows().first())).toBe(true);
  await app.page.keyboard.press("ArrowDown");
  await expect.poll(() => hasFocus(rows().nth(1))).toBe(true);
  await app.page.keyboard.press("ArrowLeft");
  await cards().first().focus();
  await app.page.keyboard.press("3");
  const third = cards().nth(2);
  await expect.poll(() => hasFocus(third)).toBe(true);
  const words = (await third.locator(".an-text").innerText()).trim().slice(0, 40);
  await app.page.keyboard.press("Enter");
  await app.message.waitFor();
  await expect.poll(() => app.answers.last().innerText()).toContain(words);
  const next = await app.ask("Thank you.");
  expect(await app.prefilled(next)).toBeLessThan(16);
  await view("Branches").click();
  await expect.poll(() => rows().count()).toBe(8);
  expect(await app.inBothThemes("branches-deeper")).toEqual([]);
});

test("the memory map is painted on a document's words, with words for it, and taken off again", async () => {
  await app.button("Documents").click();
  const chooser = app.page.waitForEvent("filechooser");
  await app.button("Add documents").click();
  const bytes = await minutes(3, { 2: "The access code for the archive is 4821." });
  await (
    await chooser
  ).setFiles({
    name: "minutes.pdf",
    mimeType: "application/pdf",
    buffer: Buffer.from(bytes),
  });
  await app.button("Open minutes.pdf").click();
  await app.button("Memory map").click();
  await app.page.getByText("of this page is still held").waitFor();
  const painted = (): Promise<number> =>
    app.page.evaluate(() =>
      [...CSS.highlights.values()].reduce((sum, highlight) => sum + highlight.size, 0),
    );
  await expect.poll(painted).toBeGreaterThan(20);
  await app.button("Next page").click();
  await app.button("Next page").click();
  await expect.poll(painted).toBeGreaterThan(20);
  expect(await app.inBothThemes("memory-map")).toEqual([]);
  const layers = app.page.getByRole("combobox", { name: "Layer" });
  expect(await layers.locator("option").count()).toBe(13);
  await layers.selectOption("3");
  await app.page.getByText("of this page is still held").waitFor();
  await app.button("Close document").click();
  await expect.poll(painted).toBe(0);
  expect(app.outside).toEqual([]);
  expect(app.complaints).toEqual([]);
});
