import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { DocumentInfo, Message } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";
import { book } from "./book.testing.ts";
import { writeZip } from "./formats/zip.testing.ts";

const END = 5;
/** No word of it stands in the texts, so no sentence of them is read again behind it. */
const QUESTION = "What is it about?";

let folder: string;
let engine: FakeEngine;
let services: Services | null = null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-digest-"));
  engine = createFakeEngine();
  engine.chunk = 64;
  engine.answers = [[20, END]];
});
afterEach(async () => {
  await services?.close();
  services = null;
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<Services> {
  services = await startServices(folder, engine);
  await services.engine.model();
  return services;
}

async function add(app: Services, text: string, name = "book.txt"): Promise<DocumentInfo> {
  const bytes = new TextEncoder().encode(text);
  return app.handlers["documents.import"]({ name, mediaType: "text/plain", bytes });
}

async function documentOf(app: Services, id: string): Promise<DocumentInfo> {
  const found = (await app.handlers["documents.list"]({})).find((one) => one.id === id);
  if (found === undefined) throw new Error("the document is gone");
  return found;
}

async function until(
  app: Services,
  id: string,
  wanted: (document: DocumentInfo) => boolean,
): Promise<DocumentInfo> {
  for (;;) {
    const document = await documentOf(app, id);
    if (wanted(document)) return document;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function read(app: Services, id: string): Promise<DocumentInfo> {
  await app.handlers["documents.read"]({ documentId: id });
  return until(app, id, ({ reading }) => reading?.status === "read");
}

interface Asked {
  readonly chatId: string;
  readonly answerId: string;
}

async function send(
  app: Services,
  documentIds: string[],
  more: { readonly asOf?: number } = {},
): Promise<Asked> {
  const { id: chatId } = await app.handlers["chats.create"]({});
  const { assistantMessageId } = await app.handlers["messages.send"]({
    chatId,
    parentId: null,
    text: QUESTION,
    documentIds,
    reading: "whole",
    ...more,
  });
  return { chatId, answerId: assistantMessageId };
}

const final = new Set(["done", "stopped", "length", "failed"]);

async function answerTo(
  app: Services,
  { chatId, answerId }: Asked,
  wanted: (answer: Message) => boolean = ({ status }) => final.has(status),
): Promise<Message> {
  for (;;) {
    const { messages } = await app.handlers["chats.get"]({ chatId });
    const answer = messages.find(({ id }) => id === answerId);
    if (answer !== undefined && wanted(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function ask(
  app: Services,
  documentIds: string[],
  more: { readonly asOf?: number } = {},
): Promise<Message> {
  return answerTo(app, await send(app, documentIds, more));
}

const tokensRead = (): number => engine.prefills.reduce((sum, ids) => sum + ids.length, 0);

test("a document is read once; every chat begins behind it and reads its own words alone, with the ids that it would have read", async () => {
  const app = await start();
  const text = book(12);
  const { id } = await add(app, text);
  const alone = await ask(app, [id]);
  const whole = alone.prefilled ?? 0;
  expect(whole).toBeGreaterThan(5000);
  await read(app, id);
  const before = tokensRead();
  const first = await ask(app, [id]);
  const second = await ask(app, [id]);
  expect(first.prefilled).toBeLessThan(20);
  expect(second.prefilled).toBe(first.prefilled);
  expect(tokensRead() - before).toBe((first.prefilled ?? 0) * 2);
  const model = await app.engine.model();
  const ids = await model.wording.turn(
    [],
    [
      { role: "document", text },
      { role: "user", text: QUESTION },
    ],
  );
  expect(whole).toBe(ids.length);
  expect([...(engine.prefills.at(-1) ?? [])]).toEqual([...ids.subarray(-(first.prefilled ?? 0))]);
});

test("a pause keeps what was read, also across a restart; going on reads only the rest", async () => {
  let app = await start();
  const { id } = await add(app, book(20));
  const stands = engine.hold("prefill", 25);
  await app.handlers["documents.read"]({ documentId: id });
  await stands;
  await app.handlers["documents.pause"]({ documentId: id });
  const paused = await documentOf(app, id);
  expect(paused.reading).toMatchObject({ status: "paused" });
  const kept = paused.reading?.done ?? 0;
  expect(kept).toBeGreaterThan(1500);
  expect(tokensRead()).toBe(kept);
  await services?.close();
  engine = createFakeEngine();
  engine.chunk = 64;
  app = await start();
  expect((await documentOf(app, id)).reading).toMatchObject({ status: "paused", done: kept });
  const done = await read(app, id);
  expect(tokensRead()).toBe((done.reading?.total ?? 0) - kept);
});

test("closed in the middle of it, it goes on by itself at the next start", async () => {
  let app = await start();
  const { id } = await add(app, book(20));
  const stands = engine.hold("prefill", 25);
  await app.handlers["documents.read"]({ documentId: id });
  await stands;
  await services?.close();
  const kept = tokensRead();
  expect(kept).toBeGreaterThan(1500);
  engine = createFakeEngine();
  engine.chunk = 64;
  app = await start();
  const { reading } = await until(app, id, (document) => document.reading?.status === "read");
  expect(tokensRead()).toBe((reading?.total ?? 0) - kept);
});

test("a chat takes its turn within a chunk, and what it reads of a document it keeps for the reading", async () => {
  const app = await start();
  const [one, other] = [await add(app, book(20)), await add(app, book(8, 40), "other.txt")];
  const stands = engine.hold("prefill", 5);
  await app.handlers["documents.read"]({ documentId: one.id });
  await stands;
  const question = await send(app, [other.id]);
  await engine.hold("generate", 0);
  // The chunk that was being read, and then all that the question needs.
  const [background, ...turn] = engine.prefills.map(({ length }) => length);
  expect(background).toBe(6 * 64);
  const { prefilled } = await answerTo(app, question, ({ status }) => status === "writing");
  expect(turn.reduce((sum, length) => sum + length, 0)).toBe(prefilled);
  engine.release();
  expect((await answerTo(app, question)).status).toBe("done");
  const again = await ask(app, [other.id]);
  expect(again.prefilled).toBeLessThan(20);
  const { reading } = await read(app, other.id);
  expect(reading?.status).toBe("read");
});

test("stopping a chat that reads a document keeps what it has read", async () => {
  const app = await start();
  const { id } = await add(app, book(20));
  const stands = engine.hold("prefill", 25);
  const { chatId } = await send(app, [id]);
  await stands;
  await app.handlers["messages.stop"]({ chatId });
  engine.release();
  const sofar = tokensRead();
  expect(sofar).toBeGreaterThan(1500);
  const answer = await ask(app, [id]);
  const model = await app.engine.model();
  const ids = await model.wording.turn(
    [],
    [
      { role: "document", text: book(20) },
      { role: "user", text: QUESTION },
    ],
  );
  expect(answer.prefilled).toBe(ids.length - sofar);
});

test("pages are appended: a longer version, and another file, go on from the last checkpoint that still holds", async () => {
  const app = await start();
  const { id } = await add(app, book(10));
  const first = await read(app, id);
  const whole = first.reading?.total ?? 0;
  const longer = new TextEncoder().encode(book(12));
  await app.handlers["documents.append"]({
    documentId: id,
    name: "v2.txt",
    mediaType: "",
    bytes: longer,
  });
  expect((await documentOf(app, id)).reading).toBeNull();
  let before = tokensRead();
  const second = await read(app, id);
  const grown = (second.reading?.total ?? 0) - whole;
  // The last piece and the last chunk are read again with what is new.
  expect(tokensRead() - before).toBeLessThan(grown + 2 * 2048 + 1300);
  expect(tokensRead() - before).toBeLessThan(whole);
  const more = new TextEncoder().encode(book(2, 99));
  await app.handlers["documents.append"]({
    documentId: id,
    name: "more.txt",
    mediaType: "",
    bytes: more,
  });
  const { text } = await app.handlers["documents.page"]({ documentId: id, page: null });
  expect(text).toBe(`${book(12)}\n\n${book(2, 99)}`);
  before = tokensRead();
  const third = await read(app, id);
  expect(tokensRead() - before).toBeLessThan((third.reading?.total ?? 0) / 2);
  expect((await ask(app, [id])).prefilled).toBeLessThan(20);
});

test("as of a page: what is read is the text up to there, from the nearest checkpoint", async () => {
  const app = await start();
  const sheets = Array.from(
    { length: 8 },
    (_, n) => `<h1>Chapter ${n + 1}</h1><p>${book(1, n + 1)}</p>`,
  );
  const bytes = epub(sheets);
  const { id, pages } = await app.handlers["documents.import"]({
    name: "b.epub",
    mediaType: "",
    bytes,
  });
  expect(pages).toBe(8);
  await read(app, id);
  const checkpoints = await app.handlers["documents.checkpoints"]({ documentId: id });
  expect(checkpoints?.pages).toHaveLength(8);
  expect(checkpoints?.pages.every(({ again, tokens }) => again <= tokens)).toBe(true);
  expect(checkpoints?.pages.at(-1)?.again).toBe(0);
  const costs = checkpoints?.pages[4];
  const answer = await ask(app, [id], { asOf: 5 });
  expect(answer.prefilled).toBeLessThan((costs?.again ?? 0) + 40);
  const whole = await app.handlers["documents.page"]({ documentId: id, page: null });
  const next = await app.handlers["documents.page"]({ documentId: id, page: 6 });
  const model = await app.engine.model();
  const ids = await model.wording.turn(
    [],
    [
      { role: "document", text: whole.text.slice(0, next.start).trimEnd() },
      { role: "user", text: QUESTION },
    ],
  );
  const last = engine.prefills.slice(-2).flatMap((piece) => [...piece]);
  expect([...ids].slice(-last.length)).toEqual(last);
  expect(await model.wording.decode(ids)).not.toContain("Chapter 6");
});

test("removed, it leaves no state, no token and no word behind in the file", async () => {
  const app = await start();
  const { id } = await add(app, `${book(6)}\n\nThe planted string is quixotic-marmalade.`);
  await read(app, id);
  await app.handlers["documents.remove"]({ documentId: id });
  await services?.close();
  services = null;
  const file = readFileSync(join(folder, "tarn.sqlite"));
  expect(file.includes("quixotic-marmalade")).toBe(false);
  const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
  for (const table of [
    "snapshots",
    "snapshot_heads",
    "document_ids",
    "document_chunks",
    "readings",
    "passages",
  ])
    expect(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()).toEqual({ n: 0 });
  db.close();
});

/** A book of these chapters. */
function epub(chapters: readonly string[]): Uint8Array<ArrayBuffer> {
  const names = chapters.map((_, n) => `c${n}.xhtml`);
  const items = names.map(
    (name, n) => `<item id="i${n}" href="${name}" media-type="application/xhtml+xml"/>`,
  );
  const spine = names.map((_, n) => `<itemref idref="i${n}"/>`);
  return writeZip([
    { name: "mimetype", data: "application/epub+zip" },
    {
      name: "META-INF/container.xml",
      data: '<container><rootfiles><rootfile full-path="p.opf"/></rootfiles></container>',
    },
    {
      name: "p.opf",
      data: `<package><manifest>${items.join("")}</manifest><spine>${spine.join("")}</spine></package>`,
    },
    ...chapters.map((body, n) => ({
      name: names[n] ?? "",
      data: `<html><body>${body}</body></html>`,
    })),
  ]);
}
