import { mkdtempSync, rmSync } from "node:fs";
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
  folder = mkdtempSync(join(tmpdir(), "tarn-undo-"));
  engine = createFakeEngine();
  engine.answers = [[300, 301, 5]];
  app = await startServices(folder, engine);
});
afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 10));
}

const messages = async (chatId: string): Promise<Message[]> =>
  (await app.handlers["chats.get"]({ chatId })).messages;
const idsOf = async (chatId: string): Promise<string[]> =>
  (await messages(chatId)).map(({ id }) => id);
const settled = (chatId: string): Promise<void> =>
  until(async () =>
    (await messages(chatId)).every(
      ({ status }) => !["queued", "reading", "writing"].includes(status),
    ),
  );

async function say(chatId: string, parentId: string | null): Promise<void> {
  await app.handlers["messages.send"]({
    chatId,
    parentId,
    text: "Words",
    documentIds: [],
    reading: "search",
  });
  await settled(chatId);
}

const undo = () => app.handlers["history.undo"]({});
const redo = () => app.handlers["history.redo"]({});

test("edits, new answers and branches are undone and done again, one after the other", async () => {
  const { id: chatId } = await app.handlers["chats.create"]({});
  await say(chatId, null);
  const first = await idsOf(chatId);
  await app.handlers["messages.edit"]({ chatId, messageId: first[0] ?? "", text: "Other words" });
  await settled(chatId);
  const edited = await idsOf(chatId);
  await app.handlers["messages.regenerate"]({ chatId, messageId: edited[1] ?? "" });
  await settled(chatId);
  const again = await idsOf(chatId);
  await app.handlers["messages.select"]({ chatId, messageId: first[0] ?? "" });
  const read = engine.prefills.length;

  expect(await undo()).toEqual({ chatId, what: "Change of branch" });
  expect(await idsOf(chatId)).toEqual(again);
  expect(await undo()).toEqual({ chatId, what: "New answer" });
  expect(await idsOf(chatId)).toEqual(edited);
  expect(await undo()).toEqual({ chatId, what: "Edit" });
  expect(await idsOf(chatId)).toEqual(first);
  expect(await undo()).toBeNull();

  for (const expected of [edited, again, first]) {
    expect(await redo()).toMatchObject({ chatId });
    expect(await idsOf(chatId)).toEqual(expected);
  }
  expect(await redo()).toBeNull();
  // Every place has its state: nothing was read for any of it.
  expect(engine.prefills).toHaveLength(read);
});

test("a deleted chat comes back with its title, and goes again", async () => {
  const { id: chatId } = await app.handlers["chats.create"]({});
  await say(chatId, null);
  await app.handlers["chats.rename"]({ chatId, title: "A name" });
  await app.handlers["chats.pin"]({ chatId, pinned: true });
  await app.handlers["chats.delete"]({ chatId });
  const listed = () => app.handlers["chats.list"]({ query: "" });
  expect(await undo()).toEqual({ chatId, what: "Deletion" });
  expect(await listed()).toMatchObject([{ id: chatId, title: "A name", pinned: true }]);
  await undo();
  expect(await undo()).toEqual({ chatId, what: "New title" });
  expect(await listed()).toMatchObject([{ title: "Words", pinned: false }]);
  for (let step = 0; step < 3; step++) await redo();
  expect(await listed()).toEqual([]);
});

test("undoing a question that is being answered stops the answer, and a new deed ends redoing", async () => {
  const { id: chatId } = await app.handlers["chats.create"]({});
  await say(chatId, null);
  const before = await idsOf(chatId);
  engine.answers = [Array.from({ length: 500 }, () => 300)];
  const stands = engine.hold("generate", 10);
  await app.handlers["messages.send"]({
    chatId,
    parentId: before.at(-1) ?? null,
    text: "More",
    documentIds: [],
    reading: "search",
  });
  await stands;
  expect(await undo()).toEqual({ chatId, what: "Message" });
  expect(await idsOf(chatId)).toEqual(before);
  await app.handlers["chats.rename"]({ chatId, title: "Another" });
  expect(await redo()).toBeNull();
});
