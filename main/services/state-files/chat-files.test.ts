/** Chats as files and back, with the services as they are wired: what goes on, what is refused with which sentence, what leaks. */
import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FILE_PART_BYTES } from "../../contract/dto.ts";
import type { Message } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";
import { readStateFile, writeStateFile, type StateFile } from "./state-file.ts";

const MODEL = "a".repeat(64);

let folders: string[];
let engine: FakeEngine;
let app: Services;

beforeEach(async () => {
  folders = [];
  await start(MODEL);
});
afterEach(async () => {
  await app.close();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A program with a data folder of its own. */
async function start(model: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tarn-files-"));
  folders.push(folder);
  engine = createFakeEngine(model);
  engine.answers = [[300, 301, 5]];
  app = await startServices(folder, engine);
  await app.engine.model();
}
async function another(model: string): Promise<void> {
  await app.close();
  await start(model);
}

const messages = async (chatId: string): Promise<Message[]> =>
  (await app.handlers["chats.get"]({ chatId })).messages;
async function settled(chatId: string): Promise<Message[]> {
  for (;;) {
    const all = await messages(chatId);
    if (all.every(({ status }) => !["queued", "reading", "writing"].includes(status))) return all;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
async function say(chatId: string, text: string): Promise<Message[]> {
  const parentId = (await messages(chatId)).at(-1)?.id ?? null;
  await app.handlers["messages.send"]({
    chatId,
    parentId,
    text,
    documentIds: [],
    reading: "search",
  });
  return settled(chatId);
}
async function talk(): Promise<string> {
  const { id: chatId } = await app.handlers["chats.create"]({});
  await say(chatId, "The secret word is heron");
  await say(chatId, "And the other one is otter");
  return chatId;
}

interface Choice {
  readonly withText?: boolean;
  readonly passphrase?: string | null;
}
async function saved(
  chatId: string,
  { withText = true, passphrase = null }: Choice = {},
): Promise<Uint8Array> {
  const messageId = (await messages(chatId)).at(-1)?.id ?? "";
  const file = await app.handlers["chats.exportState"]({ chatId, messageId, withText, passphrase });
  const parts: Uint8Array[] = [];
  for (let at = 0; ;) {
    const { bytes } = await app.handlers["files.part"]({ fileId: file.fileId, at });
    if (bytes.byteLength === 0) break;
    parts.push(bytes);
    at += bytes.byteLength;
  }
  const whole = Buffer.concat(parts);
  expect(whole.byteLength).toBe(file.bytes);
  return whole;
}
async function sent(bytes: Uint8Array): Promise<string> {
  const { fileId } = await app.handlers["files.begin"]({ bytes: bytes.byteLength });
  for (let at = 0; at < bytes.byteLength; at += FILE_PART_BYTES)
    await app.handlers["files.add"]({ fileId, at, bytes: bytes.slice(at, at + FILE_PART_BYTES) });
  return fileId;
}
async function opened(
  bytes: Uint8Array,
  passphrase: string | null = null,
  readAgain = false,
): Promise<string> {
  const fileId = await sent(bytes);
  return (await app.handlers["chats.importState"]({ fileId, passphrase, readAgain })).chatId;
}

test("a chat goes on where its file is opened: its words are there, and only the new ones are read", async () => {
  const chatId = await talk();
  const before = await messages(chatId);
  const bytes = await saved(chatId);
  await another(MODEL);
  const copy = await opened(bytes);
  const [chat] = await app.handlers["chats.list"]({ query: "heron" });
  expect(chat).toMatchObject({ id: copy, title: "The secret word is heron" });
  const there = await messages(copy);
  expect(there.map(({ role, text, tokens }) => [role, text, tokens])).toEqual(
    before.map(({ role, text, tokens }) => [role, text, tokens]),
  );
  expect(engine.prefills).toEqual([]);
  const all = await say(copy, "Which one?");
  expect(all.at(-1)).toMatchObject({ status: "done", prefilled: all.at(-2)?.tokens });
  // A branch in the middle of it is read from its ids.
  await app.handlers["messages.regenerate"]({ chatId: copy, messageId: there[1]?.id ?? "" });
  await settled(copy);
});

test("without its words a file shows none of them, and the chat that it becomes goes on all the same", async () => {
  const chatId = await talk();
  const bytes = await saved(chatId, { withText: false });
  const { read, title, ...file } = await readStateFile(bytes, null);
  expect(read.every(({ text, ids }) => text === null && ids === null)).toBe(true);
  expect(read.map(({ role }) => role)).toEqual(["user", "assistant", "user", "assistant"]);
  expect(file).toMatchObject({ isClosed: true, model: { modelHash: MODEL } });
  expect(title).toBe("");
  await another(MODEL);
  const copy = await opened(bytes);
  expect(await messages(copy)).toMatchObject([{ role: "system", text: "" }]);
  const all = await say(copy, "Which one?");
  expect(all.at(-1)).toMatchObject({ status: "done", prefilled: all.at(-2)?.tokens });
  // However little room there is: its memory could not be read again.
  await app.handlers["settings.set"]({ statesBudget: 64 * 2 ** 20 });
  const next = await say(copy, "And why?");
  expect(next.at(-1)).toMatchObject({ status: "done", prefilled: next.at(-2)?.tokens });
});

test("with a passphrase it is opened by that one alone, which can be tried again without sending the file again", async () => {
  const chatId = await talk();
  const bytes = await saved(chatId, { passphrase: "heron and otter" });
  expect(Buffer.from(bytes).includes("otter")).toBe(false);
  const fileId = await sent(bytes);
  const open = (passphrase: string | null) =>
    app.handlers["chats.importState"]({ fileId, passphrase, readAgain: false });
  await expect(open(null)).rejects.toMatchObject({
    code: "unauthorized",
    message: expect.stringContaining("encrypted"),
  });
  await expect(open("heron")).rejects.toMatchObject({
    code: "unauthorized",
    message: expect.stringContaining("does not open"),
  });
  expect((await app.handlers["chats.list"]({ query: "" })).map(({ id }) => id)).toEqual([chatId]);
  await open("heron and otter");
  expect(await app.handlers["chats.list"]({ query: "" })).toHaveLength(2);
  await expect(open("heron and otter")).rejects.toMatchObject({ code: "not-found" });
});

test("another model's state is refused with the reason, and its words are read instead where they are there", async () => {
  const chatId = await talk();
  const [bytes, wordless] = [await saved(chatId), await saved(chatId, { withText: false })];
  await another("b".repeat(64));
  await expect(opened(bytes)).rejects.toMatchObject({
    code: "state-foreign",
    message: expect.stringMatching(/made with “.+”.*quantisation.*Nothing was changed/),
    data: { canReadAgain: 1 },
  });
  await expect(opened(wordless)).rejects.toMatchObject({ data: { canReadAgain: 0 } });
  await expect(opened(wordless, null, true)).rejects.toMatchObject({ code: "state-foreign" });
  expect(await app.handlers["chats.list"]({ query: "" })).toEqual([]);
  const copy = await opened(bytes, null, true);
  while ((await app.handlers["chats.rebuilds"]({})).length > 0)
    await new Promise((resolve) => setTimeout(resolve, 5));
  const tokens = (await messages(copy)).reduce((sum, message) => sum + message.tokens, 0);
  expect(engine.prefills.reduce((sum, ids) => sum + ids.length, 0)).toBe(tokens);
  const costs = await app.handlers["chats.cost"]({ chatId: copy });
  expect(costs?.messages.at(-1)?.behind.tokens).toBe(0);
});

test("what is cut off, changed, no state file, or lies about itself leaves nothing behind", async () => {
  const chatId = await talk();
  const bytes = await saved(chatId);
  const good = await readStateFile(bytes, null);
  const lie = (change: Partial<StateFile>): Promise<Uint8Array> =>
    writeStateFile({ ...good, ...change }, null);
  const changed = Uint8Array.from(bytes, (byte, at) =>
    at === bytes.length >> 1 ? byte ^ 1 : byte,
  );
  const [first, ...rest] = good.read;
  if (first === undefined) throw new Error("nothing was read");
  const unsaid = (piece: typeof first, tokens: number) => ({
    ...piece,
    text: null,
    ids: null,
    tokens,
  });
  const wrongIds = new Uint8Array(4 * first.tokens).fill(255);
  const claim = Buffer.from(bytes);
  claim.writeUInt32LE(0xffff_ffff, 12);
  for (const [broken, code] of [
    [bytes.slice(0, bytes.length / 2), "state-corrupt"],
    [bytes.slice(0, 20), "state-corrupt"],
    [changed, "state-corrupt"],
    [claim, "state-corrupt"],
    [new TextEncoder().encode("a recipe for soup"), "state-foreign"],
    [await lie({ position: good.position + 1 }), "state-corrupt"],
    [await lie({ read: [] }), "state-corrupt"],
    [await lie({ read: [{ ...first, ids: wrongIds }, ...rest] }), "state-corrupt"],
    [await lie({ read: [{ ...first, ids: new Uint8Array(3) }, ...rest] }), "state-corrupt"],
    [await lie({ snapshot: good.snapshot.slice(1) }), "state-foreign"],
    // Of words that are not in the file nothing but its own word says how many they are: this one wants 8 GB for them.
    [await lie({ position: 2 ** 31 - 1, read: [unsaid(first, 2 ** 31 - 1)] }), "state-corrupt"],
  ] as const) {
    await expect(opened(broken)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/Nothing was changed|Choose a file/),
    });
  }
  expect((await app.handlers["chats.list"]({ query: "" })).map(({ id }) => id)).toEqual([chatId]);
});

test("a persona without a prompt is words enough: where its state is gone the chat is read again from its ids", async () => {
  const { id: personaId } = await app.handlers["personas.add"]({
    name: "Examples alone",
    prompt: "",
    examples: [{ user: "Two and two?", assistant: "Four." }],
    temperature: null,
  });
  const { id } = await app.handlers["chats.create"]({});
  await app.handlers["messages.send"]({
    chatId: id,
    parentId: null,
    text: "Three and three?",
    documentIds: [],
    reading: "search",
    personaId,
  });
  await settled(id);
  const bytes = await saved(id);
  await another(MODEL);
  const chatId = await opened(bytes);
  const read = (await messages(chatId)).reduce((sum, { tokens }) => sum + tokens, 0);
  await app.close();
  const db = new BetterSqlite3(join(folders.at(-1) ?? "", "tarn.sqlite"));
  db.exec("PRAGMA foreign_keys = ON; DELETE FROM snapshots");
  db.close();
  engine = createFakeEngine(MODEL);
  engine.answers = [[300, 301, 5]];
  app = await startServices(folders.at(-1) ?? "", engine);
  const all = await say(chatId, "And four and four?");
  expect(all.map(({ status }) => status)).not.toContain("failed");
  expect(all.at(-1)?.prefilled).toBeGreaterThan(read);
});

test("parts come in order and as many as were said; only one file is held", async () => {
  const { fileId } = await app.handlers["files.begin"]({ bytes: FILE_PART_BYTES + 10 });
  const add = (at: number, length: number) =>
    app.handlers["files.add"]({ fileId, at, bytes: new Uint8Array(length) });
  // Parts of any other size could be any number.
  for (const [at, length] of [
    [0, 0],
    [0, 4],
    [0, FILE_PART_BYTES + 1],
    [1, FILE_PART_BYTES],
  ] as const)
    await expect(add(at, length)).rejects.toMatchObject({ code: "bad-request" });
  await add(0, FILE_PART_BYTES);
  await expect(add(0, 10)).rejects.toMatchObject({ code: "bad-request" });
  await expect(
    app.handlers["chats.importState"]({ fileId, passphrase: null, readAgain: false }),
  ).rejects.toMatchObject({ code: "bad-request" });
  await app.handlers["files.begin"]({ bytes: 10 });
  await expect(add(FILE_PART_BYTES, 10)).rejects.toMatchObject({ code: "not-found" });
  await expect(app.call("files.begin", { bytes: 2 ** 31 })).rejects.toMatchObject({
    code: "bad-request",
    message: expect.stringContaining("1,024 MB"),
  });
});
