/** Reading chats again: how far it is, pause and stop, and that it makes way for a chat's turn. */
import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { chatRebuildSchema, type ChatRebuild, type Message } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";

let folder: string;
let engine: FakeEngine;
let app: Services;
let progress: ChatRebuild[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-rebuild-"));
  await start();
});
afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  engine = createFakeEngine();
  engine.answers = [[300, 301, 302, 5]];
  engine.chunk = 128;
  app = await startServices(folder, engine);
  progress = [];
  app.events.subscribe((name, data) => {
    if (name === "rebuild.progress") progress.push(chatRebuildSchema.parse(data));
  });
  await app.engine.model();
}

async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 5));
}
const messages = async (chatId: string): Promise<Message[]> =>
  (await app.handlers["chats.get"]({ chatId })).messages;
const rebuilds = () => app.handlers["chats.rebuilds"]({});
const tokensRead = (): number => engine.prefills.reduce((sum, ids) => sum + ids.length, 0);
const isFree = async (chatId: string): Promise<boolean> =>
  (await app.handlers["chats.cost"]({ chatId }))?.messages.at(-1)?.behind.tokens === 0;

/** A chat of two long questions. */
async function talk(): Promise<{ chatId: string; tokens: number }> {
  const { id: chatId } = await app.handlers["chats.create"]({});
  for (let turn = 0; turn < 2; turn++) {
    await app.handlers["messages.send"]({
      chatId,
      parentId: (await messages(chatId)).at(-1)?.id ?? null,
      text: `word${turn} `.repeat(900),
      documentIds: [],
      reading: "search",
    });
    await until(async () => (await messages(chatId)).every(({ status }) => status === "done"));
  }
  const tokens = (await messages(chatId)).reduce((sum, message) => sum + message.tokens, 0);
  return { chatId, tokens };
}

/** The program starts again, and finds its file changed by this. @returns what the last statement gives */
async function restart(...statements: readonly string[]): Promise<readonly unknown[]> {
  await app.close();
  const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
  db.pragma("foreign_keys = ON");
  let rows: readonly unknown[] = [];
  for (const statement of statements) {
    const prepared = db.prepare(statement);
    rows = prepared.reader ? prepared.all() : (prepared.run(), []);
  }
  db.close();
  await start();
  return rows;
}
const forget = (): Promise<unknown> => restart("DELETE FROM snapshots");
const KEPT = "SELECT owner_id FROM snapshots WHERE owner_kind = 'rebuild'";

/** Reads it again, as far as one chunk: the engine stands before the second. */
async function begin(chatId: string): Promise<void> {
  const stands = engine.hold("prefill", 1);
  await app.handlers["chats.rebuild"]({ chatId });
  await stands;
}

/** Reads it again to its end; the reader takes whatever waits in the order of its coming, so nothing that came before waits then. */
async function readAgain(chatId: string): Promise<void> {
  engine.release();
  await app.handlers["chats.rebuild"]({ chatId });
  await until(async () => (await rebuilds()).every((one) => one.chatId !== chatId));
}

test("tells how far it is, pauses between chunks, and goes on without reading anything twice", async () => {
  const [{ chatId, tokens }, other] = [await talk(), await talk()];
  await forget();
  await begin(chatId);
  expect(progress).toMatchObject([{ chatId, status: "reading", done: 128, total: tokens }]);
  expect(progress[0]?.tokensPerSecond).toBeGreaterThan(0);
  expect(progress[0]?.secondsLeft).toBeGreaterThan(0);
  await app.handlers["chats.pauseRebuild"]({ chatId: null });
  await until(() => app.engine.status().phase === "ready");
  expect(await rebuilds()).toMatchObject([{ chatId, status: "paused" }]);
  expect(tokensRead()).toBe(128);
  // Another one is read past it.
  await readAgain(other.chatId);
  expect(tokensRead()).toBe(128 + other.tokens);
  expect(await rebuilds()).toMatchObject([{ chatId, status: "paused" }]);
  await readAgain(chatId);
  expect(tokensRead()).toBe(tokens + other.tokens);
  expect(progress.at(-1)).toMatchObject({ done: tokens, total: tokens });
  expect(await isFree(chatId)).toBe(true);
});

test("paused and resumed in the same breath it goes on; stopped it gives up, and the chat can still be used", async () => {
  const { chatId, tokens } = await talk();
  await forget();
  await begin(chatId);
  await app.handlers["chats.pauseRebuild"]({ chatId });
  const stands = engine.hold("prefill", 1);
  await app.handlers["chats.rebuild"]({ chatId });
  expect(await rebuilds()).toHaveLength(1);
  await stands;
  expect(tokensRead()).toBe(2 * 128);
  await app.handlers["chats.stopRebuild"]({ chatId });
  await until(async () => (await rebuilds()).length === 0);
  expect(tokensRead()).toBe(2 * 128);
  expect(tokensRead()).toBeLessThan(tokens);
  expect(await isFree(chatId)).toBe(false);
  engine.release();
  await app.handlers["messages.regenerate"]({
    chatId,
    messageId: (await messages(chatId)).at(-1)?.id ?? "",
  });
  await until(async () => (await messages(chatId)).at(-1)?.status === "done");
});

test("a turn goes first, and the reading goes on behind it", async () => {
  const [one, other] = [await talk(), await talk()];
  await forget();
  await begin(one.chatId);
  const { id: chatId } = await app.handlers["chats.create"]({});
  await app.handlers["messages.send"]({
    chatId,
    parentId: null,
    text: "Hi",
    documentIds: [],
    reading: "search",
  });
  engine.release();
  await until(async () => (await messages(chatId)).at(-1)?.status === "done");
  await until(async () => (await rebuilds()).length === 0);
  // What was read, the chunk that was being read, then the turn, and the rest behind it.
  const lengths = engine.prefills.map(({ length }) => length);
  expect(lengths.slice(0, 3)).toEqual([128, 128, (await messages(chatId))[0]?.tokens]);
  const rest = lengths.slice(3).reduce((sum, length) => sum + length, 0);
  expect(rest).toBe(one.tokens - 2 * 128);
  expect(await isFree(one.chatId)).toBe(true);
  expect(await isFree(other.chatId)).toBe(false);
});

test("what a turn has read meanwhile is not read again", async () => {
  const { chatId, tokens } = await talk();
  await forget();
  await begin(chatId);
  await app.handlers["chats.pauseRebuild"]({ chatId });
  engine.release();
  const tip = (await messages(chatId)).at(-1)?.id ?? "";
  await app.handlers["messages.send"]({
    chatId,
    parentId: tip,
    text: "Hi",
    documentIds: [],
    reading: "search",
  });
  await until(async () => (await messages(chatId)).at(-1)?.status === "done");
  await readAgain(chatId);
  expect(tokensRead()).toBeLessThan(3 * tokens);
  expect(await isFree(chatId)).toBe(true);
});

test("what was paused stands so after the next start, and goes on from the token that it had reached", async () => {
  const [{ chatId, tokens }, other] = [await talk(), await talk()];
  await forget();
  await begin(chatId);
  await app.handlers["chats.pauseRebuild"]({ chatId });
  await until(() => app.engine.status().phase === "ready");
  const before = tokensRead();
  const [paused] = await rebuilds();
  expect(paused).toMatchObject({ status: "paused", done: before, total: tokens });
  expect(await restart(KEPT)).toHaveLength(1);
  await until(async () => (await rebuilds()).length > 0);
  expect(await rebuilds()).toEqual([{ ...paused, tokensPerSecond: null, secondsLeft: null }]);
  // Another one is read past it.
  await readAgain(other.chatId);
  expect(tokensRead()).toBe(other.tokens);
  await readAgain(chatId);
  expect(before + tokensRead()).toBe(tokens + other.tokens);
  expect(progress.at(-1)).toMatchObject({ done: tokens, total: tokens });
  expect(await isFree(chatId)).toBe(true);
  // Nothing of the place between is left.
  expect(await restart(KEPT)).toEqual([]);
});

test("what was being read, or waited, goes on by itself after the next start", async () => {
  const [one, other] = [await talk(), await talk()];
  await forget();
  await begin(one.chatId);
  await app.handlers["chats.rebuild"]({ chatId: other.chatId });
  const reading = engine;
  await restart();
  const before = reading.prefills.reduce((sum, ids) => sum + ids.length, 0);
  expect(before).toBeLessThan(one.tokens);
  await until(async () => (await isFree(one.chatId)) && (await isFree(other.chatId)));
  expect(before + tokensRead()).toBe(one.tokens + other.tokens);
  await until(async () => (await rebuilds()).length === 0);
});

test("what was being read in a crash waits for somebody who says to go on", async () => {
  const { chatId, tokens } = await talk();
  await forget();
  await begin(chatId);
  await app.handlers["chats.pauseRebuild"]({ chatId });
  const before = tokensRead();
  await restart("UPDATE rebuilds SET status = 'reading'");
  await until(async () => (await rebuilds()).length > 0);
  expect(await rebuilds()).toMatchObject([{ chatId, status: "paused", done: before }]);
  await app.handlers["chats.rebuild"]({ chatId });
  await until(async () => (await rebuilds()).length === 0);
  expect(before + tokensRead()).toBe(tokens);
});

test("the place that a reading has reached goes with its chat, and where the reading is given up", async () => {
  const [one, other] = [await talk(), await talk()];
  await forget();
  for (const { chatId } of [one, other]) {
    await begin(chatId);
    await app.handlers["chats.pauseRebuild"]({ chatId });
    await until(() => app.engine.status().phase === "ready");
  }
  expect(await restart(KEPT)).toHaveLength(2);
  await until(async () => (await rebuilds()).length === 2);
  await app.handlers["chats.delete"]({ chatId: one.chatId });
  await app.handlers["chats.stopRebuild"]({ chatId: other.chatId });
  expect(await restart(KEPT, "SELECT id FROM rebuilds")).toEqual([]);
  expect(await restart(KEPT)).toEqual([]);
  expect(await restart("SELECT 1 FROM derivations WHERE owner_kind = 'rebuild'")).toEqual([]);
});

test("a place that does not fit the chat any more is not gone on from", async () => {
  const { chatId, tokens } = await talk();
  await forget();
  await begin(chatId);
  await app.handlers["chats.pauseRebuild"]({ chatId });
  await restart("UPDATE snapshots SET prefix_hash = 'another' WHERE owner_kind = 'rebuild'");
  await until(async () => (await rebuilds()).length > 0);
  await app.handlers["chats.rebuild"]({ chatId });
  await until(async () => (await rebuilds()).length === 0);
  expect(tokensRead()).toBe(tokens);
  expect(await isFree(chatId)).toBe(true);
});

test("a paused reading goes with its deleted chat, and is there again, as far as it was, when that comes back", async () => {
  const { chatId, tokens } = await talk();
  await forget();
  await begin(chatId);
  await app.handlers["chats.pauseRebuild"]({ chatId });
  await until(() => app.engine.status().phase === "ready");
  const [paused] = await rebuilds();
  expect(paused).toMatchObject({ chatId, status: "paused" });
  await app.handlers["chats.delete"]({ chatId });
  expect(await rebuilds()).toEqual([]);
  await app.handlers["chats.restore"]({ chatId });
  const { status, done, total } = (await rebuilds())[0] ?? {};
  expect({ status, done, total }).toEqual({ status: "paused", done: paused?.done, total: tokens });
  engine.release();
  await app.handlers["chats.rebuild"]({ chatId });
  await until(async () => (await rebuilds()).length === 0);
  expect(tokensRead()).toBe(tokens);
  expect(await isFree(chatId)).toBe(true);
});

test("what was being read of a chat stops with its deletion, and goes on when that is undone", async () => {
  const { chatId, tokens } = await talk();
  await forget();
  await begin(chatId);
  await app.handlers["chats.delete"]({ chatId });
  expect(await rebuilds()).toEqual([]);
  await until(() => app.engine.status().phase === "ready");
  expect(tokensRead()).toBeLessThan(tokens);
  engine.release();
  expect(await app.handlers["history.undo"]({})).toMatchObject({ chatId });
  await until(async () => (await rebuilds()).length === 0);
  expect(tokensRead()).toBe(tokens);
  expect(await isFree(chatId)).toBe(true);
});

test("a chat that is not there is not read again", async () => {
  await expect(app.handlers["chats.rebuild"]({ chatId: "nobody" })).rejects.toMatchObject({
    code: "not-found",
  });
  expect(await rebuilds()).toEqual([]);
});
