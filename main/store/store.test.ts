import BetterSqlite3 from "better-sqlite3";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDatabase } from "./database.ts";
import { chatsAndDocuments } from "./migrations/0001-chats-and-documents.ts";
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

const state = { modelHash: "model", tokenizerHash: "t", position: 2, prefixHash: "p", now: 5 };

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
    await store.run("saveState", { ...state, messageId: "m4", bytes: secret });
    await store.run("deleteChat", { chatId: "c", now: 9 });
    expect(await store.run("getChat", { chatId: "c" })).toBeNull();
    await store.run("restoreChat", { chatId: "c" });
    expect((await store.run("getChat", { chatId: "c" }))?.tipId).toBe("m4");
    await store.run("deleteChat", { chatId: "c", now: 9 });
    expect(await store.run("purgeDeletedChats", { now: 9 })).toBe(1);
    expect(await store.run("getMessage", { messageId: "m1" })).toBeNull();
    expect(await store.run("stateOf", { messageId: "m4" })).toBeNull();
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

describe("states", () => {
  test("come back bit for bit, nearest first", async () => {
    const store = await start();
    await chatOfFour(store);
    const bytes = Uint8Array.from({ length: 5000 }, (_, index) => (index * 37) % 256);
    await store.run("saveState", { ...state, messageId: "m1", bytes });
    await store.run("saveState", { ...state, messageId: "m3", bytes: bytes.subarray(7) });
    expect(
      (await store.run("statesOnPath", { messageId: "m4", modelHash: "model" })).map(
        (one) => one.messageId,
      ),
    ).toEqual(["m3", "m1"]);
    const loaded = await store.run("loadState", { messageId: "m3", modelHash: "model", now: 6 });
    expect(Buffer.compare(loaded.bytes ?? Buffer.of(), bytes.subarray(7))).toBe(0);
  });

  test("one that cannot be decompressed is reported and removed", async () => {
    const store = await start();
    await chatOfFour(store);
    await store.run("saveState", { ...state, messageId: "m1", bytes: new Uint8Array(1000) });
    await store.close();
    const db = new BetterSqlite3(file);
    db.prepare("UPDATE states SET zstd = ?").run(Buffer.from("not zstd"));
    db.close();
    open = [];
    const again = await start();
    expect(await again.run("loadState", { messageId: "m1", modelHash: "model", now: 6 })).toEqual({
      bytes: null,
      damaged: true,
    });
    expect(await again.run("stateOf", { messageId: "m1" })).toBeNull();
  });

  test("beyond the budget the least recently used goes, never a tip", async () => {
    const store = await start();
    await chatOfFour(store);
    for (const [index, messageId] of ["m4", "m1", "m2", "m3"].entries()) {
      await store.run("saveState", {
        ...state,
        messageId,
        bytes: new Uint8Array(100),
        now: index,
        budget: 40,
      });
    }
    expect(
      (await store.run("statesOnPath", { messageId: "m4", modelHash: "model" })).map(
        (one) => one.messageId,
      ),
    ).toEqual(["m4", "m3"]);
  });
});

describe("trouble", () => {
  test("a full disk is a sentence, and what was saved stays", async () => {
    const store = await start(80);
    await chatOfFour(store);
    const noise = new Uint8Array(1_000_000).map(() => Math.random() * 256);
    await expect(
      store.run("saveState", { ...state, messageId: "m1", bytes: noise }),
    ).rejects.toMatchObject({
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
    const second = {
      name: "second",
      apply: (db: BetterSqlite3.Database) => void db.exec("CREATE TABLE more (id INTEGER) STRICT"),
    };
    const db = openDatabase({ file, maxPages: null }, [chatsAndDocuments, second]);
    expect(db.pragma("user_version", { simple: true })).toBe(2);
    db.close();
    const backup = new BetterSqlite3(`${file}.before-2.backup`);
    expect(backup.pragma("user_version", { simple: true })).toBe(1);
    backup.close();
    expect(existsSync(`${file}.before-1.backup`)).toBe(false);
  });

  test("a migration that fails changes nothing", () => {
    openDatabase({ file, maxPages: null }).close();
    const broken = {
      name: "broken",
      apply: (db: BetterSqlite3.Database) =>
        void db.exec("CREATE TABLE more (id INTEGER) STRICT; SELECT nothing"),
    };
    expect(() => openDatabase({ file, maxPages: null }, [chatsAndDocuments, broken])).toThrow(
      /could not be read or written/,
    );
    const db = openDatabase({ file, maxPages: null });
    expect(db.prepare("SELECT name FROM sqlite_master WHERE name = 'more'").all()).toEqual([]);
    db.close();
  });
});
