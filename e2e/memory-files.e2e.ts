/** A chat's memory as a file and back, deleting a branch, keeping a state, reading a chat again: as a user meets them; in light and dark. */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import BetterSqlite3 from "better-sqlite3";
import type { Browser, Download } from "playwright";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dataFolder, launchBrowser, type Server, startServer, TarnApp } from "./app.ts";

let data: Awaited<ReturnType<typeof dataFolder>>;
let server: Server;
let browser: Browser;
let app: TarnApp;

beforeAll(async () => {
  data = await dataFolder();
  browser = await launchBrowser();
  await start();
});
afterAll(async () => {
  await browser?.close();
  await server?.kill();
  await data?.release();
});

async function start(): Promise<void> {
  server = await startServer(data.path);
  app = await TarnApp.open(browser, server.address);
}

const dialog = () => app.page.getByRole("dialog");
const view = (name: string) =>
  app.page.getByRole("radiogroup", { name: "View" }).getByText(name, { exact: true });
const rows = () => app.page.getByRole("treeitem");
const item = (name: string) => app.page.getByRole("menuitem", { name, exact: true });

async function menuOf(answer = app.answers.last()): Promise<void> {
  await answer.hover();
  await answer.getByRole("button", { name: "Message menu" }).click();
}
async function save(fill: () => Promise<void>): Promise<Download> {
  await menuOf();
  await item("Save memory…").click();
  await fill();
  const download = app.page.waitForEvent("download");
  await dialog().getByRole("button", { name: "Save file" }).click();
  return download;
}
async function open(file: string): Promise<void> {
  const chooser = app.page.waitForEvent("filechooser");
  await app.button("Open memory").click();
  await (await chooser).setFiles(file);
}

test("a memory is saved with a passphrase, says what it can leak, and is opened with that one alone", async () => {
  await app.ask("What is the capital of France?");
  const words = (await app.answers.last().locator(".md").innerText()).trim();
  const download = await save(async () => {
    await dialog().getByText("can leak its text").waitFor();
    await dialog().getByLabel("Passphrase", { exact: true }).fill("heron");
    await dialog().getByLabel("Passphrase again").fill("herons");
    expect(await dialog().getByRole("button", { name: "Save file" }).isDisabled()).toBe(true);
    await dialog().getByLabel("Passphrase again").fill("heron");
    expect(await app.inBothThemes("save-memory")).toEqual([]);
  });
  expect(download.suggestedFilename()).toBe("What is the capital of France.tarn");
  const file = path.join(data.path, "locked.tarn");
  await download.saveAs(file);
  expect((await readFile(file)).includes("France")).toBe(false);

  await open(file);
  await dialog().getByLabel("Passphrase").fill("otter");
  await dialog().getByRole("button", { name: "Open", exact: true }).click();
  await dialog().getByText("does not open this state file").waitFor();
  expect(await app.inBothThemes("open-memory")).toEqual([]);
  await dialog().getByLabel("Passphrase").fill("heron");
  await app.page.keyboard.press("Enter");
  await dialog().waitFor({ state: "detached" });
  await expect.poll(() => app.answers.last().innerText()).toContain(words);
  await expect.poll(() => app.chats.getByRole("listitem").count()).toBe(2);
  const next = await app.ask("And of Italy?");
  expect(await app.prefilled(next)).toBeLessThan(24);
});

test("without its words the chat goes on all the same; what is cut off is refused, and dropped files are opened", async () => {
  const download = await save(async () => dialog().getByText("With the words").click());
  const file = path.join(data.path, "wordless.tarn");
  await download.saveAs(file);
  const bytes = await readFile(file);
  expect(bytes.includes("Italy")).toBe(false);
  await app.page.evaluate((content) => {
    const whole = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([whole], "wordless.tarn"));
    const drop = { dataTransfer: transfer, cancelable: true, bubbles: true };
    document.body.dispatchEvent(new DragEvent("drop", drop));
  }, bytes.toString("base64"));
  await app.page.getByText("that was opened from a file").waitFor();
  const answer = await app.ask("What did I ask you about?");
  expect(await app.prefilled(answer)).toBeLessThan(24);
  expect(await app.inBothThemes("wordless-chat")).toEqual([]);
  const cut = path.join(data.path, "cut.tarn");
  await writeFile(cut, bytes.subarray(0, bytes.length >> 1));
  await open(cut);
  await dialog().getByRole("alert").getByText("is damaged").waitFor();
  await dialog().getByRole("button", { name: "Close" }).click();
});

test("a state is kept from a message's menu, which the tree and the settings show", async () => {
  await menuOf();
  const faults = await app.inBothThemes("message-menu");
  // A menu floats over the page, outside its landmarks.
  expect(faults.filter((fault) => !fault.startsWith("region:"))).toEqual([]);
  await item("Keep this state").click();
  await app.page.getByText("the last to go").waitFor();
  await view("Branches").click();
  await app.page.getByRole("treeitem", { name: "its state is kept" }).waitFor();
  await app.button("Settings").click();
  await app.page.getByText("1 of them kept by you").waitFor();
  await app.chats.getByRole("button").first().click();
});

test("a branch is deleted by the Delete key in the tree and from a message's menu, and comes back", async () => {
  await app.button("New chat").click();
  await app.ask("Tell me about the lake.");
  await app.ask("And about the hills?");
  await app.button("Regenerate").last().click();
  await expect.poll(() => app.page.getByText("answer 2 of 2").count()).toBe(1);
  await app.settled();
  await view("Branches").click();
  await expect.poll(() => rows().count()).toBe(5);
  expect(await app.inBothThemes("branches-delete")).toEqual([]);
  await rows().last().focus();
  await app.page.keyboard.press("Delete");
  await expect.poll(() => rows().count()).toBe(4);
  await app.page.getByText("1 message was deleted.").waitFor();
  await app.button("Undo").last().click();
  await expect.poll(() => rows().count()).toBe(5);
  await rows().nth(2).focus();
  await app.button("Delete from here").click();
  await expect.poll(() => rows().count()).toBe(2);
  await app.page.keyboard.press("Control+z");
  await app.page.getByText("Deletion of a branch undone.").waitFor();
  await expect.poll(() => app.answers.count()).toBe(2);
  await menuOf();
  await item("Delete from here").click();
  // The other answer is shown in place of the one that went: before that, the focus would be on what goes.
  await expect.poll(() => app.page.getByText("answer 2 of 2").count()).toBe(0);
  expect(await app.page.getByText("answer 1 of 1").count()).toBe(0);
  await expect.poll(() => app.answers.count()).toBe(2);
  await app.answers.last().focus();
  await app.page.keyboard.press("Delete");
  await expect.poll(() => app.answers.count()).toBe(1);
});

test("a chat whose memory is gone is read again with its progress, is paused, stands so after a restart, goes on, and is free then", async () => {
  await app.button("New chat").click();
  // So long that it is not read again before somebody who sees it begin has found the button, on a busy machine too.
  await app.ask(`Remember this. ${"The hut stands on the hill above the lake. ".repeat(1200)}`);
  await app.page.context().close();
  await server.kill();
  const db = new BetterSqlite3(path.join(data.path, "tarn.sqlite"));
  db.pragma("foreign_keys = ON");
  db.prepare("DELETE FROM snapshots").run();
  db.close();
  await start();
  const remembered = () =>
    app.chats
      .getByRole("button", { name: /^Remember this/ })
      .first()
      .click();
  await remembered();
  await app.button("Read it now").click();
  await app.page.getByText(/^Read [1-9][\d,]* of [\d,]+ tokens again/).waitFor();
  await app.button("Pause").click();
  const kept = () =>
    app.page.getByText(/^Paused at [\d,]+ of [\d,]+ tokens; what was read is kept/);
  await kept().waitFor();
  await app.page.getByText("Ready", { exact: true }).first().waitFor();
  expect(await app.inBothThemes("read-again-paused")).toEqual([]);
  const place = await kept().textContent();
  await app.page.context().close();
  await server.kill();
  await start();
  await remembered();
  await kept().waitFor();
  expect(await kept().textContent()).toBe(place);
  expect(await app.inBothThemes("read-again-paused-restarted")).toEqual([]);
  await app.button("Resume").click();
  await app.page.getByText(/^Read [\d,]+ of [\d,]+ tokens again/).waitFor();
  await app.screenshot("read-again.light");
  await app.page
    .getByRole("region", { name: "Reading this chat again" })
    .waitFor({ state: "detached" });
  const answer = await app.ask("Where does the hut stand?");
  expect(await app.prefilled(answer)).toBeLessThan(24);
  expect(app.outside).toEqual([]);
  expect(app.complaints).toEqual([]);
});
