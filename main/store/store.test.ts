import BetterSqlite3 from "better-sqlite3";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { migrations, openDatabase } from "./database.ts";
import type { MessageRecord } from "./records.ts";
import { openStore, type Store } from "./store.ts";

let folder: string;
let file: string;
let open: Store[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-store-"));
  file = join(folder, "tarn.sqlite");
});
afterEach(async () => {
  for (const store of open) await store.close();
  open = [];
  rmSync(folder, { recursive: true, force: true });
});

async function start(maxPages: number | null = null): Promise<Store> {
  const store = await openStore({ file, maxPages });
  open.push(store);
  return store;
}

function message(
  id: string,
  parentId: string | null,
  role: MessageRecord["role"],
  chatId = "c",
): MessageRecord {
  return {
    id,
    chatId,
    parentId,
    role,
    text: `text of ${id}`,
    status: "done",
    error: null,
    passages: [],
    grounds: null,
    persona: null,
    documents: [],
    tokens: 2,
    prefilled: null,
    tokensPerSecond: null,
    sampler: null,
    createdAt: Number(id.replaceAll(/\D/g, "")),
  };
}

async function chatOfFour(store: Store): Promise<void> {
  await store.run("createChat", { id: "c", title: "", baseId: null, now: 1 });
  const ids = { tokenizerHash: "t", ids: Int32Array.of(7, 2 ** 31 - 1) };
  await store.run("addMessages", {
    chatId: "c",
    title: "A title",
    now: 2,
    messages: [
      message("m1", null, "user"),
      message("m2", "m1", "assistant"),
      message("m3", "m2", "user"),
      message("m4", "m3", "assistant"),
    ].map((one) => ({ message: one, ids })),
  });
}

/** What saves a state without pages behind a message. */
function stateBehind(messageId: string, bytes: Uint8Array) {
  return {
    owner: { kind: "message", id: messageId, series: "" },
    modelHash: "model",
    tokenizerHash: "t",
    numericVersion: 1,
    position: 2,
    prefixHash: "p",
    derivation: null,
    bytes,
    headBytes: bytes.byteLength,
    pageBytes: 0,
    pageHashes: new Uint8Array(),
    now: 5,
    budget: 2 ** 30,
  } as const;
}

describe("chats", () => {
  test("an empty chat is not listed, one with messages is, found by its words", async () => {
    const store = await start();
    await chatOfFour(store);
    await store.run("createChat", { id: "empty", title: "", baseId: null, now: 3 });
    expect((await store.run("listChats", { query: "" })).map((chat) => chat.id)).toEqual(["c"]);
    expect(await store.run("listChats", { query: "of m3" })).toHaveLength(1);
    expect(await store.run("listChats", { query: "%" })).toHaveLength(0);
  });

  test("keeps messages and ids when it is opened again", async () => {
    const first = await start();
    await chatOfFour(first);
    await first.close();
    open = [];
    const store = await start();
    expect((await store.run("pathTo", { messageId: "m4" })).map((one) => one.id)).toEqual([
      "m1",
      "m2",
      "m3",
      "m4",
    ]);
    const ids = await store.run("idsOnPath", { messageId: "m2", tokenizerHash: "t" });
    expect(ids).toEqual([
      { messageId: "m1", ids: Int32Array.of(7, 2 ** 31 - 1) },
      { messageId: "m2", ids: Int32Array.of(7, 2 ** 31 - 1) },
    ]);
    expect(
      (await store.run("idsOnPath", { messageId: "m1", tokenizerHash: "other" }))[0]?.ids,
    ).toBeNull();
  });

  test("a deleted chat comes back until the purge, which removes its states from the file", async () => {
    const store = await start();
    await chatOfFour(store);
    const secret = Buffer.from("a state leaks its text, so no trace of it may stay");
    await store.run("saveState", stateBehind("m4", secret));
    await store.run("deleteChat", { chatId: "c", now: 9 });
    expect(await store.run("getChat", { chatId: "c" })).toBeNull();
    await store.run("restoreChat", { chatId: "c" });
    expect((await store.run("getChat", { chatId: "c" }))?.tipId).toBe("m4");
    await store.run("deleteChat", { chatId: "c", now: 9 });
    expect(await store.run("purgeDeletedChats", { now: 9 })).toBe(1);
    expect(await store.run("getMessage", { messageId: "m1" })).toBeNull();
    expect(await store.run("stateSizes", {})).toEqual({
      snapshots: 0,
      pages: 0,
      bytes: 0,
      pinned: 0,
    });
    expect(statSync(file).mode & 0o077).toBe(0);
    await store.close();
    open = [];
    expect(readFileSync(file).includes("text of m3")).toBe(false);
  });

  test("a fork is one row, and keeps what it stands on when the other chat is purged", async () => {
    const store = await start();
    await chatOfFour(store);
    await store.run("createChat", { id: "fork", title: "Fork", baseId: "m2", now: 4 });
    expect((await store.run("messagesOfChat", { chatId: "fork" })).map((one) => one.id)).toEqual([
      "m1",
      "m2",
    ]);
    await store.run("deleteChat", { chatId: "c", now: 9 });
    await store.run("purgeDeletedChats", { now: 9 });
    expect((await store.run("messagesOfChat", { chatId: "fork" })).map((one) => one.id)).toEqual([
      "m1",
      "m2",
    ]);
    expect(await store.run("getMessage", { messageId: "m3" })).toBeNull();
  });

  test("what a crash interrupted is stopped, with its text", async () => {
    const store = await start();
    await chatOfFour(store);
    await store.run("updateMessage", {
      messageId: "m4",
      patch: { status: "writing", text: "half a sen" },
      ids: null,
    });
    expect(await store.run("stopInterrupted", {})).toBe(1);
    expect(await store.run("getMessage", { messageId: "m4" })).toMatchObject({
      status: "stopped",
      text: "half a sen",
    });
  });
});

describe("trouble", () => {
  test("a full disk is a sentence, and what was saved stays", async () => {
    const store = await start(80);
    await chatOfFour(store);
    const noise = new Uint8Array(1_000_000).map(() => Math.random() * 256);
    await expect(store.run("saveState", stateBehind("m1", noise))).rejects.toMatchObject({
      code: "disk-full",
      message: expect.stringContaining("The disk is full. Nothing was lost."),
    });
    expect(await store.run("pathTo", { messageId: "m4" })).toHaveLength(4);
    expect(await store.run("checkDatabase", {})).toEqual({ sound: true, findings: "ok" });
  });

  test("a second program is told that the folder is in use", async () => {
    await start();
    await expect(openStore({ file, maxPages: null })).rejects.toMatchObject({
      code: "busy",
      message: expect.stringContaining("Another Tarn"),
    });
  });

  test("a newer database is left alone", async () => {
    const db = new BetterSqlite3(file);
    db.pragma("user_version = 999");
    db.close();
    await expect(openStore({ file, maxPages: null })).rejects.toMatchObject({
      code: "store",
      data: { reason: "newer", version: 999 },
    });
  });

  test("a file that is no database is left alone", async () => {
    writeFileSync(file, "these are not the pages you are looking for".repeat(100));
    await expect(openStore({ file, maxPages: null })).rejects.toMatchObject({
      code: "store",
      data: { reason: "damaged" },
    });
    expect(readFileSync(file, "utf8")).toContain("not the pages");
  });

  test("an existing database is copied before its schema changes", () => {
    openDatabase({ file, maxPages: null }).close();
    const next = {
      name: "next",
      apply: (db: BetterSqlite3.Database) => void db.exec("CREATE TABLE more (id INTEGER) STRICT"),
    };
    const db = openDatabase({ file, maxPages: null }, [...migrations, next]);
    expect(db.pragma("user_version", { simple: true })).toBe(migrations.length + 1);
    db.close();
    const backup = new BetterSqlite3(`${file}.before-${migrations.length + 1}.backup`);
    expect(backup.pragma("user_version", { simple: true })).toBe(migrations.length);
    backup.close();
    expect(existsSync(`${file}.before-${migrations.length}.backup`)).toBe(false);
  });

  test("a migration that fails changes nothing", () => {
    openDatabase({ file, maxPages: null }).close();
    const broken = {
      name: "broken",
      apply: (db: BetterSqlite3.Database) =>
        void db.exec("CREATE TABLE more (id INTEGER) STRICT; SELECT nothing"),
    };
    expect(() => openDatabase({ file, maxPages: null }, [...migrations, broken])).toThrow(
      /could not be read or written/,
    );
    const db = openDatabase({ file, maxPages: null });
    expect(db.prepare("SELECT name FROM sqlite_master WHERE name = 'more'").all()).toEqual([]);
    db.close();
  });
});
