/** What the interface says of memory: costs on buttons, room on the disk, a chat that another model has read, undo. */
import path from "node:path";
import BetterSqlite3 from "better-sqlite3";
import type { Browser } from "playwright";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dataFolder, launchBrowser, type Server, startServer, TarnApp } from "./app.ts";

let data: Awaited<ReturnType<typeof dataFolder>>;
let browser: Browser;
let server: Server;
let app: TarnApp;

async function open(): Promise<void> {
  server = await startServer(data.path);
  app = await TarnApp.open(browser, server.address);
}

beforeAll(async () => {
  data = await dataFolder();
  browser = await launchBrowser();
  await open();
});
afterAll(async () => {
  await browser?.close();
  await server?.kill();
  await data?.release();
});

const long = "The ferry leaves at noon, and the bread is baked before dawn. ".repeat(60).trim();
const costOf = (name: string): Promise<string | null> =>
  app.button(name).last().getAttribute("aria-description");

test("buttons say that going on costs nothing", async () => {
  await app.ask("Hello there.");
  await app.ask(long);
  await expect.poll(() => costOf("Regenerate")).toBe("0 tokens");
  await expect.poll(() => costOf("Fork from here")).toBe("0 tokens");
  await app.screenshot("memory-costs");
});

test("the settings say how much room memory takes, and may take", async () => {
  await app.button("Settings").click();
  const room = app.page.getByRole("combobox", { name: "Room for memory", exact: true });
  await expect.poll(() => room.inputValue()).toBe("4000000000");
  const meter = app.page.getByRole("meter", { name: "Memory on this disk", exact: true });
  await expect
    .poll(() => meter.getAttribute("aria-valuetext"))
    .toMatch(/^[\d.]+ [kM]B of 4\.0 GB$/);
  await room.selectOption("2000000000");
  await expect.poll(() => meter.getAttribute("aria-valuetext")).toMatch(/of 2\.0 GB$/);
  await app.screenshot("memory-settings");
  expect(await app.accessibilityFaults()).toEqual([]);
});

test("a chat that another model has read says so and what it costs, and is read again on request", async () => {
  await server.kill();
  const db = new BetterSqlite3(path.join(data.path, "tarn.sqlite"));
  db.prepare("UPDATE snapshots SET model_hash = ?").run("0".repeat(64));
  db.close();
  await app.page.close();
  await open();
  await app.chats.getByRole("link").or(app.chats.getByRole("button")).first().click();
  const note = app.page.getByRole("note").filter({ hasText: "another model" });
  await note.waitFor();
  const read = app.button("Read it now");
  await expect.poll(() => read.getAttribute("aria-description")).toMatch(/^[\d,]{3,} tokens/);
  await expect.poll(() => costOf("Fork from here")).toMatch(/^[\d,]{3,} tokens/);
  await expect.poll(() => app.button("Regenerate").isVisible()).toBe(true);
  await app.screenshot("memory-other-model");
  expect(await app.accessibilityFaults()).toEqual([]);
  await read.click();
  // What stands there now is how far reading has come.
  await note.waitFor({ state: "detached" });
  await expect.poll(() => costOf("Fork from here")).toBe("0 tokens");
  expect(await app.prefilled(await app.ask("And when is the bread baked?"))).toBeLessThan(100);
});

test("what was done to a chat is undone and done again by keys", async () => {
  const count = await app.answers.count();
  const last = await app.answers.last().innerText();
  await app.button("Regenerate").click();
  await app.page.getByText("answer 2 of 2").waitFor();
  await app.settled();
  await app.answers.last().focus();
  await app.page.keyboard.press("Control+z");
  await app.page.getByText("New answer undone.").waitFor();
  await app.page.getByText("answer 1 of 2").waitFor();
  await app.button("Send").waitFor();
  expect(await app.answers.count()).toBe(count);
  expect(last).toContain((await app.answers.last().locator(".md").innerText()).trim());
  await app.screenshot("memory-undone");
  await app.answers.last().focus();
  await app.page.keyboard.press("Control+Shift+z");
  await app.page.getByText("answer 2 of 2").waitFor();
  expect(app.complaints).toEqual([]);
});
