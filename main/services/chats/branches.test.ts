/** Deleting a branch: what is shown then, undo, forks that stand on it, and that nothing of it stays in the file. Pins. */
import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Message } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";

let folder: string;
let engine: FakeEngine;
let app: Services;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-branches-"));
  await start();
});
afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  engine = createFakeEngine();
  engine.answers = [[300, 301, 5]];
  app = await startServices(folder, engine);
  await app.engine.model();
}

/** The program ends and begins again. */
async function restart(): Promise<void> {
  await app.close();
  await start();
}

const messages = async (chatId: string): Promise<Message[]> =>
  (await app.handlers["chats.get"]({ chatId })).messages;
const shown = async (chatId: string): Promise<string[]> =>
  (await messages(chatId)).map(({ id }) => id);
const inTree = async (chatId: string): Promise<string[]> =>
  (await app.handlers["chats.tree"]({ chatId })).nodes.map(({ id }) => id);

async function settled(chatId: string): Promise<void> {
  for (;;) {
    const all = await messages(chatId);
    if (all.every(({ status }) => !["queued", "reading", "writing"].includes(status))) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
async function say(chatId: string, parentId: string | null, text = "Words"): Promise<string[]> {
  await app.handlers["messages.send"]({
    chatId,
    parentId,
    text,
    documentIds: [],
    reading: "search",
  });
  await settled(chatId);
  return shown(chatId);
}
const newChat = async (): Promise<string> => (await app.handlers["chats.create"]({})).id;
const remove = (chatId: string, messageId: string | undefined) =>
  app.handlers["messages.deleteBranch"]({ chatId, messageId: messageId ?? "" });
const fork = async (chatId: string, messageId: string | undefined): Promise<string> =>
  (await app.handlers["messages.fork"]({ chatId, messageId: messageId ?? "" })).chatId;

test("where a branch is gone the newest one beside it is shown, else what it hung on; it comes back by undo", async () => {
  const chatId = await newChat();
  const [a, b] = await say(chatId, null, "One");
  const [, , c, d] = await say(chatId, b ?? null, "Two");
  await app.handlers["messages.edit"]({ chatId, messageId: c ?? "", text: "Two and a half" });
  await settled(chatId);
  const edited = await shown(chatId);
  const read = engine.prefills.length;

  const { chat, messages: count } = await remove(chatId, edited[2]);
  expect(count).toBe(2);
  expect(chat.messages.map(({ id }) => id)).toEqual([a, b, c, d]);
  expect(chat.messages[2]?.siblings).toEqual([c]);
  expect(await inTree(chatId)).toEqual([a, b, c, d]);
  // What is not shown stays where it is, and the tip is not touched by another branch's end.
  await remove(chatId, c);
  expect(await shown(chatId)).toEqual([a, b]);
  await expect(remove(chatId, c)).rejects.toMatchObject({ code: "not-found" });
  await expect(
    app.handlers["messages.select"]({ chatId, messageId: d ?? "" }),
  ).rejects.toMatchObject({ code: "not-found" });

  expect(await app.handlers["history.undo"]({})).toEqual({ chatId, what: "Deletion of a branch" });
  expect(await shown(chatId)).toEqual([a, b, c, d]);
  await app.handlers["history.undo"]({});
  expect(await shown(chatId)).toEqual(edited);
  await app.handlers["history.redo"]({});
  expect(await shown(chatId)).toEqual([a, b, c, d]);
  await app.handlers["messages.restoreBranch"]({ chatId, messageId: edited[2] ?? "" });
  expect(await shown(chatId)).toEqual(edited);
  expect(engine.prefills).toHaveLength(read);
  const next = await say(chatId, edited.at(-1) ?? null, "Three");
  expect((await messages(chatId)).at(-1)?.prefilled).toBe((await messages(chatId)).at(-2)?.tokens);
  expect(next).toHaveLength(6);
});

test("all of a chat can be deleted, which leaves an empty one that goes on from its beginning", async () => {
  const chatId = await newChat();
  // Behind what becomes the title.
  const [first] = await say(chatId, null, `${"word ".repeat(20)} One`);
  await remove(chatId, first);
  expect(await shown(chatId)).toEqual([]);
  expect(await app.handlers["chats.list"]({ query: "" })).toEqual([]);
  await app.handlers["history.undo"]({});
  expect(await app.handlers["chats.list"]({ query: "One" })).toHaveLength(1);
  await remove(chatId, first);
  await say(chatId, null, "Two");
  expect(await app.handlers["chats.list"]({ query: "One" })).toEqual([]);
  expect(await app.handlers["chats.list"]({ query: "Two" })).toHaveLength(1);
});

test("an answer that is being written in the branch is stopped, one in another branch goes on", async () => {
  const chatId = await newChat();
  const [, b] = await say(chatId, null, "One");
  const [, , c] = await say(chatId, b ?? null, "Two");
  engine.answers = [Array.from({ length: 60 }, () => 300)];
  let stands = engine.hold("generate", 10);
  const { userMessageId, assistantMessageId } = await app.handlers["messages.edit"]({
    chatId,
    messageId: c ?? "",
    text: "Other",
  });
  await stands;
  await remove(chatId, c);
  expect((await shown(chatId)).at(-1)).toBe(assistantMessageId);
  engine.release();
  await settled(chatId);
  expect((await messages(chatId)).at(-1)).toMatchObject({ tokens: 60 });
  engine.answers = [Array.from({ length: 500 }, () => 300)];
  stands = engine.hold("generate", 10);
  const { assistantMessageId: again } = await app.handlers["messages.regenerate"]({
    chatId,
    messageId: assistantMessageId,
  });
  await stands;
  await remove(chatId, userMessageId);
  expect(await inTree(chatId)).not.toContain(again);
  engine.release();
  engine.answers = [[300, 5]];
  await say(chatId, b ?? null, "Three");
});

test("when the program has ended nothing of it is in the file, and forks that stand on it are whole", async () => {
  const chatId = await newChat();
  const [a, b] = await say(chatId, null, "One");
  const [, , c, d] = await say(chatId, b ?? null, "tarn-planted-3141592653");
  const standing = await fork(chatId, d);
  await say(standing, d ?? null, "On the fork");
  const whole = await shown(standing);
  const twice = await fork(standing, whole.at(-1));
  await say(chatId, d ?? null, "tarn-planted-1618033988");
  await remove(chatId, c);
  expect(await shown(standing)).toEqual(whole);
  await restart();
  expect(await shown(chatId)).toEqual([a, b]);
  expect(await shown(standing)).toEqual(whole);
  expect(await shown(twice)).toEqual(whole);
  const before = engine.prefills.length;
  await say(standing, whole.at(-1) ?? null, "More");
  expect(engine.prefills.slice(before).reduce((sum, ids) => sum + ids.length, 0)).toBe(
    (await messages(standing)).at(-2)?.tokens,
  );
  const file = (): string =>
    readdirSync(folder)
      .filter((name) => name.startsWith("tarn.sqlite"))
      .map((name) => readFileSync(join(folder, name), "latin1"))
      .join();
  await app.close();
  expect(file()).toContain("tarn-planted-3141592653");
  expect(file()).not.toContain("tarn-planted-1618033988");
  await start();
  await app.handlers["chats.delete"]({ chatId: twice });
  await remove(standing, c);
  await restart();
  await app.close();
  expect(file()).not.toContain("tarn-planted-3141592653");
  const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
  const left = db.prepare("SELECT owner_id FROM snapshots WHERE owner_kind = 'message'").all();
  expect(left.length).toBe(2);
  expect(db.prepare("SELECT count(*) AS n FROM messages").get()).toEqual({ n: 2 });
  db.close();
  await start();
});

test("a fork lets go of a part of what it began with, and the chat that it came from keeps it", async () => {
  const chatId = await newChat();
  const [a, b] = await say(chatId, null, "One");
  const all = await say(chatId, b ?? null, "Two");
  const standing = await fork(chatId, all.at(-1));
  await say(standing, all.at(-1) ?? null, "Three");
  await remove(standing, all[2]);
  expect(await shown(standing)).toEqual([a, b]);
  expect(await shown(chatId)).toEqual(all);
  await restart();
  expect(await shown(standing)).toEqual([a, b]);
  expect(await inTree(standing)).toEqual([a, b]);
  expect(await shown(chatId)).toEqual(all);
  expect(await say(standing, b ?? null, "Four")).toHaveLength(4);
});

test("a pinned state is told as such everywhere, and a message without one has nothing to keep", async () => {
  const chatId = await newChat();
  const [a, b] = await say(chatId, null, "One");
  const pin = (messageId: string | undefined, pinned: boolean) =>
    app.handlers["messages.pinState"]({ chatId, messageId: messageId ?? "", pinned });
  await pin(a, true);
  const pins = async () =>
    (await app.handlers["chats.tree"]({ chatId })).nodes.map((n) => n.isPinned);
  expect(await pins()).toEqual([true, false]);
  const costs = await app.handlers["chats.cost"]({ chatId });
  expect(costs?.messages.map(({ isPinned }) => isPinned)).toEqual([true, false]);
  expect(await app.handlers["states.sizes"]({})).toMatchObject({ snapshots: 2, pinned: 1 });
  await app.handlers["settings.set"]({ statesBudget: 64 * 2 ** 20 });
  await pin(a, false);
  expect(await pins()).toEqual([false, false]);
  await app.close();
  const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
  db.pragma("foreign_keys = ON");
  db.prepare("DELETE FROM snapshots WHERE owner_id = ?").run(b);
  db.close();
  await start();
  await expect(pin(b, true)).rejects.toMatchObject({
    code: "not-found",
    message: expect.stringContaining("not stored"),
  });
});
