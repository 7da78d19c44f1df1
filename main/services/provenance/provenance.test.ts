/** What is written down of how answers came about. */
import BetterSqlite3 from "better-sqlite3";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { provenanceSchema, type Provenance } from "../../contract/provenance.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";

const END = 5;

let folder: string;
let engine: FakeEngine;
let app: Services;
let isOpen: boolean;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-provenance-"));
  engine = createFakeEngine();
  engine.answers = [[300, 301, 302, END]];
  app = await startServices(folder, engine);
  await app.engine.model();
  isOpen = true;
});
afterEach(async () => {
  await close();
  rmSync(folder, { recursive: true, force: true });
});

async function close(): Promise<void> {
  if (isOpen) await app.close();
  isOpen = false;
}

async function say(
  chatId: string,
  parentId: string | null,
  text: string,
  documentIds: readonly string[] = [],
  reading: "search" | "whole" = "search",
): Promise<string> {
  const { assistantMessageId: answer } = await app.handlers["messages.send"]({
    chatId,
    parentId,
    text,
    documentIds: [...documentIds],
    reading,
  });
  for (;;) {
    const { messages } = await app.handlers["chats.get"]({ chatId });
    const status = messages.find(({ id }) => id === answer)?.status ?? "queued";
    if (!["queued", "reading", "writing"].includes(status)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const newChat = async (): Promise<string> => (await app.handlers["chats.create"]({})).id;

/** What the file holds, once the program has ended. */
async function file<T>(look: (db: BetterSqlite3.Database) => T): Promise<T> {
  await close();
  const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
  try {
    return look(db);
  } finally {
    db.close();
  }
}

function recordsIn(db: BetterSqlite3.Database): ReadonlyMap<string, Provenance> {
  return new Map(
    db
      .prepare<[], { readonly message_id: string; readonly record: string }>(
        "SELECT message_id, record FROM provenance",
      )
      .all()
      .map(({ message_id, record }) => [message_id, provenanceSchema.parse(JSON.parse(record))]),
  );
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test("an answer's record has what was read before it, the state behind it, the model and the sampler", async () => {
  await app.handlers["settings.set"]({
    sampler: { ...app.settings.get().sampler, temperature: 0.5, seed: 7 },
  });
  const chatId = await newChat();
  const first = await say(chatId, null, "One");
  const second = await say(chatId, first, "Two");
  const { messages } = await app.handlers["chats.get"]({ chatId });
  const [records, ids, states] = await file((db) => [
    recordsIn(db),
    db
      .prepare<[], { readonly message_id: string; readonly ids: Buffer }>(
        "SELECT message_id, ids FROM message_ids",
      )
      .all(),
    db
      .prepare<[], { readonly owner_id: string; readonly state_hash: string }>(
        "SELECT owner_id, state_hash FROM snapshots",
      )
      .all(),
  ]);
  const path = messages.map(
    (message) => ids.find((one) => one.message_id === message.id)?.ids ?? Buffer.alloc(0),
  );
  const stateOf = (id: string | undefined) => states.find((one) => one.owner_id === id)?.state_hash;
  const record = records.get(second);
  expect([...records.keys()].toSorted()).toEqual([first, second].toSorted());
  expect(record).toMatchObject({
    prefix: sha256(Buffer.concat(path.slice(0, 3))),
    begun: { tokens: Buffer.concat(path.slice(0, 2)).length / 4, state: stateOf(first) },
    state: stateOf(second),
    turn: [{ messageId: messages[2]?.id, role: "user", text: sha256(Buffer.from("Two")) }],
    answer: { messageId: second, tokens: 4, ids: sha256(path[3] ?? Buffer.alloc(0)) },
    model: { hash: "fake-model" },
    numericVersion: 1,
    backend: "reference",
    device: "fake",
    sampler: { temperature: 0.5, seed: 7 },
    persona: null,
    documents: [],
    passages: [],
  });
});

test("documents and the passages that were read for it are in it, by their hashes", async () => {
  const bytes = new TextEncoder().encode("The hut stands at the lake. It was built in 1874.");
  const { id } = await app.handlers["documents.import"]({
    name: "hut.txt",
    mediaType: "text/plain",
    bytes,
  });
  const chatId = await newChat();
  const found = await say(chatId, null, "When was the hut built?", [id]);
  const other = await newChat();
  const whole = await say(other, null, "When was it built?", [id], "whole");
  const records = await file(recordsIn);
  const text = sha256(bytes);
  const document = { id, name: "hut.txt", file: text, characters: bytes.length, text };
  expect(records.get(found)?.documents).toEqual([{ ...document, way: "search" }]);
  expect(records.get(found)?.passages).toMatchObject([{ documentId: id, start: 0 }]);
  expect(records.get(whole)?.documents).toEqual([{ ...document, way: "whole" }]);
  expect(records.get(whole)?.turn.map(({ role }) => role)).toEqual(["document", "user"]);
});

test("nothing of it stays in the file when the chat is deleted", async () => {
  const chatId = await newChat();
  await say(chatId, null, "One");
  await app.handlers["chats.delete"]({ chatId });
  const counts = await file((db) =>
    ["provenance", "derivations"].map(
      (table) =>
        db.prepare<[], { readonly n: number }>(`SELECT count(*) AS n FROM ${table}`).get()?.n,
    ),
  );
  expect(counts).toEqual([0, 0]);
});

test("a state that was evicted can still be told how to compute", async () => {
  const chatId = await newChat();
  await say(chatId, null, "One");
  const { derivations } = await file((db) => {
    db.exec("DELETE FROM snapshots");
    return {
      derivations: db
        .prepare("SELECT base, position, steps FROM derivations ORDER BY position")
        .all(),
    };
  });
  expect(derivations).toHaveLength(2);
  expect(derivations[1]).toMatchObject({ steps: expect.stringContaining('"write":4') });
});
