/** Audits with the real engine, on a pure and a hybrid model: what was not touched holds, and what was is found and named. */
import BetterSqlite3 from "better-sqlite3";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Audit, AuditPart } from "../../main/contract/provenance.ts";
import type { EngineClient } from "../../main/engine/client.ts";
import { openNodeFile } from "../../main/engine/node-file.ts";
import { createServices, type Services } from "../../main/services/app.ts";
import { chatModel } from "../soak/model.ts";
import { startOwnThreadEngine } from "./own-thread-engine.ts";

let folder: string;
let app: Services | null;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "tarn-audit-"));
  mkdirSync(path.join(folder, "data"));
  app = null;
});
afterEach(async () => {
  await close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(
  fixture: string,
  backend: "wasm" | "reference" = "wasm",
  startEngine: () => EngineClient = startOwnThreadEngine,
): Promise<Services> {
  const models = path.join(folder, "resources/models");
  chatModel(fixture, models);
  app = await createServices({
    dataFolder: path.join(folder, "data"),
    resourcesFolder: path.join(folder, "resources"),
    version: "0",
    shell: "browser",
    startEngine,
    openFile: openNodeFile,
    openLink: async () => undefined,
  });
  await app.handlers["settings.set"]({
    backend,
    sampler: { ...app.settings.get().sampler, temperature: 0.8, maxTokens: 24, seed: 5 },
  });
  await app.engine.model();
  return app;
}

async function close(): Promise<void> {
  await app?.close();
  app = null;
}

async function settled(services: Services, chatId: string): Promise<void> {
  for (;;) {
    const { nodes } = await services.handlers["chats.tree"]({ chatId });
    if (nodes.every(({ status }) => !["queued", "reading", "writing"].includes(status))) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function say(
  services: Services,
  chatId: string,
  parentId: string | null,
  text: string,
  documents: readonly string[] = [],
  reading: "search" | "whole" = "search",
): Promise<string> {
  const { assistantMessageId } = await services.handlers["messages.send"]({
    chatId,
    parentId,
    text,
    documentIds: [...documents],
    reading,
  });
  await settled(services, chatId);
  return assistantMessageId;
}

const newChat = async (services: Services): Promise<string> =>
  (await services.handlers["chats.create"]({})).id;
const audit = (services: Services, chatId: string, messageId: string | null = null) =>
  services.handlers["chats.audit"]({ chatId, messageId });
const partOf = (found: Audit, at: number, part: AuditPart["part"]) =>
  found.messages[at]?.parts.find((one) => one.part === part);

async function edit(fixture: string, change: (db: BetterSqlite3.Database) => void) {
  await close();
  const db = new BetterSqlite3(path.join(folder, "data/tarn.sqlite"));
  db.pragma("foreign_keys = ON");
  change(db);
  db.close();
  return start(fixture);
}

/** A document of some parts, read with a state behind each. @returns its id */
async function readDocument(services: Services): Promise<string> {
  const text = Array.from(
    { length: 60 },
    (_, day) => `On day ${day} the hut had ${day * 3} guests.`,
  ).join(" ");
  const { id } = await services.handlers["documents.import"]({
    name: "hut.txt",
    mediaType: "text/plain",
    bytes: new TextEncoder().encode(text),
  });
  await services.handlers["documents.read"]({ documentId: id });
  for (;;) {
    const [document] = await services.handlers["documents.list"]({});
    if (document?.reading?.status === "read") return id;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Writes another id in the place of a message's first one. */
function changeToken(db: BetterSqlite3.Database, messageId: string): void {
  const { ids } = db
    .prepare<[string], { readonly ids: Buffer }>("SELECT ids FROM message_ids WHERE message_id = ?")
    .get(messageId) ?? { ids: Buffer.alloc(0) };
  const changed = Buffer.from(ids);
  changed.writeInt32LE(changed.readInt32LE(0) === 5 ? 6 : 5, 0);
  db.prepare("UPDATE message_ids SET ids = ? WHERE message_id = ?").run(changed, messageId);
}

describe.each(["mamba2", "jamba"])("%s", (fixture) => {
  test("an untouched chat holds, after a restart too, with edits, other answers, many of them, and forks", async () => {
    let services = await start(fixture);
    const chatId = await newChat(services);
    const first = await say(services, chatId, null, "One");
    const second = await say(services, chatId, first, "Two");
    await services.handlers["messages.regenerate"]({ chatId, messageId: second });
    await settled(services, chatId);
    await services.handlers["messages.regenerateMany"]({ chatId, messageId: second, count: 3 });
    await settled(services, chatId);
    const { tipId } = await services.handlers["chats.tree"]({ chatId });
    await say(services, chatId, tipId, "Three");
    const question = (await services.handlers["chats.get"]({ chatId })).messages.at(-2)?.id ?? "";
    await services.handlers["messages.edit"]({ chatId, messageId: question, text: "Four" });
    await settled(services, chatId);
    const { chatId: fork } = await services.handlers["messages.fork"]({
      chatId,
      messageId: second,
    });
    await say(services, fork, second, "Five");
    await close();
    services = await start(fixture);
    const tree = await services.handlers["chats.tree"]({ chatId });
    const leaves = tree.nodes.filter(({ id }) => tree.nodes.every((one) => one.parentId !== id));
    expect(leaves.length).toBe(6);
    for (const { id } of leaves) {
      const found = await audit(services, chatId, id);
      expect(
        found.messages.flatMap(({ parts }) => parts.filter((p) => p.finding !== "holds")),
      ).toEqual([]);
      expect(found).toMatchObject({ finding: "holds" });
      expect(found.tokens).toBeGreaterThan(0);
    }
    const ofFork = await audit(services, fork);
    expect(ofFork).toMatchObject({ finding: "holds" });
    expect(ofFork.messages).toHaveLength(3);
    expect(
      (await services.handlers["chats.auditCost"]({ chatId: fork, messageId: null })).tokens,
    ).toBe(ofFork.tokens);
  });

  test("one changed token is found, and said where", async () => {
    let services = await start(fixture);
    const chatId = await newChat(services);
    const first = await say(services, chatId, null, "One");
    await say(services, chatId, first, "Two");
    services = await edit(fixture, (db) => changeToken(db, first));
    const found = await audit(services, chatId);
    expect(found.finding).toBe("differs");
    expect(partOf(found, 0, "tokens")).toMatchObject({
      finding: "differs",
      says: expect.stringContaining("The stored tokens of the answer"),
    });
    expect(partOf(found, 0, "answer")).toMatchObject({
      finding: "differs",
      says: expect.stringContaining("token 1 of"),
    });
    // What the model wrote then leads to the recorded state; what is stored now does not.
    expect(partOf(found, 0, "state")?.finding).toBe("holds");
    expect(partOf(found, 1, "tokens")?.finding).toBe("differs");
    expect(partOf(found, 1, "answer")?.finding).toBe("unknown");
  });

  test("states that were evicted are computed again; one that was changed is found", async () => {
    let services = await start(fixture);
    const chatId = await newChat(services);
    const first = await say(services, chatId, null, "One");
    await say(services, chatId, first, "Two");
    services = await edit(fixture, (db) => db.exec("DELETE FROM snapshots"));
    const evicted = await audit(services, chatId);
    expect(evicted.finding).toBe("holds");
    expect(partOf(evicted, 1, "stored")).toMatchObject({ finding: "unknown" });
    expect(partOf(evicted, 1, "state")?.says).toContain("from the beginning");
    // It is read again from its words, by another way than it was written; both ways are known.
    const { tipId } = await services.handlers["chats.tree"]({ chatId });
    await say(services, chatId, tipId, "Three");
    expect((await audit(services, chatId)).finding).toBe("holds");
    services = await edit(fixture, (db) =>
      db
        .prepare(
          "UPDATE snapshot_heads SET zstd = zeroblob(50) WHERE snapshot_id = (SELECT max(snapshot_id) FROM snapshot_heads)",
        )
        .run(),
    );
    const damaged = await audit(services, chatId);
    expect(partOf(damaged, 2, "stored")?.finding).toBe("differs");
    expect(partOf(damaged, 2, "state")?.finding).toBe("holds");
  });

  test("documents hold, looked up and whole; one that was changed or removed is named", async () => {
    let services = await start(fixture);
    const id = await readDocument(services);
    const searched = await newChat(services);
    const found = await say(services, searched, null, "How many guests had the hut on day 7?", [
      id,
    ]);
    await say(services, searched, found, "What do you think?");
    const whole = await newChat(services);
    const begun = await say(services, whole, null, "How many guests?", [id], "whole");
    await say(services, whole, begun, "And then?");
    for (const chatId of [searched, whole]) {
      const held = await audit(services, chatId);
      expect(
        held.messages.flatMap(({ parts }) => parts.filter((p) => p.finding !== "holds")),
      ).toEqual([]);
    }
    services = await edit(fixture, (db) =>
      db.prepare("UPDATE documents SET text = replace(text, 'day 7 ', 'day 8 ')").run(),
    );
    for (const chatId of [searched, whole]) {
      const differs = await audit(services, chatId);
      expect(partOf(differs, 0, "documents")).toMatchObject({
        finding: "differs",
        says: expect.stringContaining("“hut.txt”"),
      });
      expect(partOf(differs, 0, "state")?.finding).toBe("holds");
    }
    await services.handlers["documents.remove"]({ documentId: id });
    const gone = await audit(services, searched);
    expect(partOf(gone, 0, "documents")).toMatchObject({
      finding: "unknown",
      says: expect.stringContaining("was removed"),
    });
    expect(gone.finding).toBe("unknown");
  });
});

/** A question whose words stand nowhere, and which behind the parts of the document is much likelier than behind none, with these weights. */
const UNSAID = "who sang? ".repeat(30);

describe.each(["rwkv7", "bamba"])("%s, asked by parts", (fixture) => {
  test("answers by the states of parts and by looking up hold, edited, forked, in batches and without states; a changed token is named", async () => {
    let services = await start(fixture);
    const id = await readDocument(services);
    const chatId = await newChat(services);
    const first = await say(services, chatId, null, UNSAID, [id]);
    const question = (await services.handlers["chats.get"]({ chatId })).messages.at(-2);
    // Looking up finds nothing: it is the sentence of a part.
    expect(question?.passages).toMatchObject([
      { documentId: id, text: expect.stringContaining("guests") },
    ]);
    const second = await say(services, chatId, first, "How many guests had the hut on day 7?");
    await services.handlers["messages.regenerateMany"]({ chatId, messageId: first, count: 2 });
    await settled(services, chatId);
    await services.handlers["messages.edit"]({
      chatId,
      messageId: question?.id ?? "",
      text: UNSAID.replace("sang", "swam"),
    });
    await settled(services, chatId);
    const { chatId: fork } = await services.handlers["messages.fork"]({ chatId, messageId: first });
    await say(services, fork, first, "And on day 9, how many guests had it?");
    const { nodes } = await services.handlers["chats.tree"]({ chatId });
    const ends = nodes
      .filter((node) => nodes.every(({ parentId }) => parentId !== node.id))
      .map((node) => ({ chat: chatId, end: node.id }));
    ends.push({ chat: fork, end: "" });
    expect(ends).toHaveLength(5);
    for (const { chat, end } of ends) {
      const held = await audit(services, chat, end === "" ? null : end);
      expect(
        held.messages.flatMap(({ parts }) => parts.filter((p) => p.finding !== "holds")),
      ).toEqual([]);
      expect(held.messages.length).toBeGreaterThan(0);
    }
    const record = await services.handlers["messages.provenance"]({ chatId, messageId: first });
    expect(record?.passages).toMatchObject([{ documentId: id, file: "hut.txt" }]);

    // The parts' states are no part of the record: what they named is, and was read.
    services = await edit(fixture, (db) => db.exec("DELETE FROM snapshots"));
    const evicted = await audit(services, chatId, second);
    expect(evicted.finding).toBe("holds");
    expect(partOf(evicted, 1, "state")?.says).toContain("from the beginning");

    services = await edit(fixture, (db) => changeToken(db, question?.id ?? ""));
    const differs = await audit(services, chatId, second);
    expect(differs.finding).toBe("differs");
    expect(partOf(differs, 0, "tokens")).toMatchObject({
      finding: "differs",
      says: expect.stringContaining("The stored tokens of your message “who sang?"),
    });
    expect(partOf(differs, 0, "answer")?.finding).toBe("unknown");

    services = await edit(fixture, (db) =>
      db.prepare("UPDATE documents SET text = replace(text, ' guests', ' ghosts')").run(),
    );
    expect(partOf(await audit(services, chatId, second), 0, "documents")).toMatchObject({
      finding: "differs",
      says: expect.stringContaining("“hut.txt”"),
    });
  });
});

test("one of 16 answers, whose activations had 8 bits, holds", async () => {
  /** The engine with matrices in blocks where their width allows: only products with those round activations. */
  const startQuantising = (): EngineClient => {
    const engine = startOwnThreadEngine();
    return {
      ...engine,
      call: (method, input, options) =>
        engine.call(method, method === "load" ? { ...input, quantise: "q8_0" } : input, options),
    };
  };
  const services = await start("mamba2", "wasm", startQuantising);
  const chatId = await newChat(services);
  const first = await say(services, chatId, null, "One");
  const { assistantMessageIds } = await services.handlers["messages.regenerateMany"]({
    chatId,
    messageId: first,
    count: 16,
  });
  await settled(services, chatId);
  expect(assistantMessageIds).toHaveLength(16);
  for (const id of [first, assistantMessageIds[0], assistantMessageIds[15]]) {
    const found = await audit(services, chatId, id);
    expect(
      found.messages.flatMap(({ parts }) => parts.filter((p) => p.finding !== "holds")),
    ).toEqual([]);
    expect(found).toMatchObject({ finding: "holds" });
  }
  await close();
  const db = new BetterSqlite3(path.join(folder, "data/tarn.sqlite"));
  const rounded = db
    .prepare<[], { readonly count: number }>(
      `SELECT count(DISTINCT owner_id) AS count FROM derivations WHERE steps LIKE '%"activations":"int8"%'`,
    )
    .get();
  db.close();
  expect(rounded?.count).toBe(16);
});

test("another model, and another backend, are said, not passed over", async () => {
  let services = await start("mamba2");
  const chatId = await newChat(services);
  await say(services, chatId, null, "One");
  await services.handlers["settings.set"]({ backend: "reference" });
  await services.engine.model();
  const elsewhere = await audit(services, chatId);
  expect(elsewhere.finding).toBe("unknown");
  expect(partOf(elsewhere, 0, "state")?.says).toMatch(/was computed on wasm .* this is reference/);
  await close();
  rmSync(path.join(folder, "resources"), { recursive: true });
  services = await start("jamba");
  const other = await audit(services, chatId);
  expect(other.finding).toBe("unknown");
  expect(partOf(other, 0, "state")?.says).toContain("Load that model");
  expect(partOf(other, 0, "tokens")?.finding).toBe("holds");
});

test("an answer that was drawn by another way of choosing is not known, one of the likeliest tokens still holds", async () => {
  let services = await start("mamba2");
  const drawn = await newChat(services);
  await say(services, drawn, null, "One");
  const { sampler } = services.settings.get();
  await services.handlers["settings.set"]({ sampler: { ...sampler, temperature: 0 } });
  const likeliest = await newChat(services);
  await say(services, likeliest, null, "One");
  services = await edit("mamba2", (db) => {
    const rows = db
      .prepare<[], { readonly steps: string }>("SELECT DISTINCT steps FROM derivations")
      .all();
    const update = db.prepare("UPDATE derivations SET steps = ? WHERE steps = ?");
    // As version 1 wrote them.
    for (const { steps } of rows) update.run(steps.replaceAll(/,"choices":\d+/g, ""), steps);
  });
  const found = await audit(services, drawn);
  expect(found.finding).toBe("unknown");
  expect(partOf(found, 0, "answer")).toMatchObject({ finding: "unknown" });
  expect(partOf(found, 0, "answer")?.says).toContain("earlier version");
  expect(await audit(services, likeliest)).toMatchObject({ finding: "holds" });
});
