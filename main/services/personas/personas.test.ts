import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Message, Persona, PersonaText } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";

const END = 5;
const POET: PersonaText = {
  name: "Poet",
  prompt: "You answer in rhymes, and in no other way.",
  examples: [],
  temperature: null,
};
const EXAMPLES = [
  { user: "Good morning.", assistant: "The sun is up, so fill your cup." },
  { user: "Good night.", assistant: "The moon is bright, so sleep all right." },
];

let folder: string;
let engine: FakeEngine;
let app: Services;
let isOpen = false;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-personas-"));
  await start(createFakeEngine());
});
afterEach(async () => {
  await close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(next: FakeEngine): Promise<void> {
  engine = next;
  engine.answers = [[300, 301, END]];
  app = await startServices(folder, engine);
  isOpen = true;
  await app.engine.model();
}

async function close(): Promise<void> {
  if (isOpen) await app.close();
  isOpen = false;
}

/** Once its state is kept. */
async function read(id: string): Promise<Persona> {
  for (;;) {
    const found = (await app.handlers["personas.list"]({})).find((one) => one.id === id);
    if (found?.cost?.tokens === 0) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function say(
  chatId: string,
  parentId: string | null,
  text: string,
  more: { readonly personaId?: string; readonly documentIds?: string[] } = {},
): Promise<Message> {
  const { personaId, documentIds = [] } = more;
  const { assistantMessageId } = await app.handlers["messages.send"]({
    chatId,
    parentId,
    text,
    documentIds,
    reading: documentIds.length > 0 ? "whole" : "search",
    ...(personaId === undefined ? {} : { personaId }),
  });
  for (;;) {
    const { messages } = await app.handlers["chats.get"]({ chatId });
    const answer = messages.find(({ id }) => id === assistantMessageId);
    if (answer !== undefined && !["queued", "reading", "writing"].includes(answer.status))
      return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const newChat = async (): Promise<string> => (await app.handlers["chats.create"]({})).id;
const path = async (chatId: string): Promise<Message[]> =>
  (await app.handlers["chats.get"]({ chatId })).messages;

test.each([
  ["a prompt", []],
  ["examples", EXAMPLES],
])("a chat begins where %s was read: 0 tokens but its own", async (_, examples) => {
  const added = await app.handlers["personas.add"]({ ...POET, examples });
  expect(added.cost?.tokens).toBe(added.tokens);
  const persona = await read(added.id);
  const before = engine.prefills.length;
  const chatId = await newChat();
  const answer = await say(chatId, null, "Hello", { personaId: persona.id });
  const [first, question] = await path(chatId);
  expect(first).toMatchObject({ role: "system", text: POET.prompt, tokens: persona.tokens });
  expect(first?.persona).toMatchObject({ id: persona.id, name: "Poet", examples });
  expect(engine.prefills.slice(before).map(({ length }) => length)).toEqual([question?.tokens]);
  expect(answer).toMatchObject({ status: "done", prefilled: question?.tokens });
  // All of it together is what a conversation with these words is.
  const decoded = await app.engine.model();
  const all = engine.prefills.flatMap((ids) => [...ids]);
  const text = await decoded.wording.decode(Int32Array.from(all));
  for (const words of [POET.prompt, ...examples.map(({ user }) => user), "Hello"])
    expect(text).toContain(words);
});

test("a change is read again, and leaves the chats that began before as they were", async () => {
  const { id } = await app.handlers["personas.add"](POET);
  await read(id);
  const chatId = await newChat();
  const answer = await say(chatId, null, "Hello", { personaId: id });
  const prompt = "You answer in one word.";
  const changed = await app.handlers["personas.change"]({ ...POET, prompt, personaId: id });
  expect(changed.cost?.tokens).toBeGreaterThan(0);
  await read(id);
  const before = engine.prefills.length;
  await say(chatId, answer.id, "And now?");
  expect(engine.prefills.slice(before)).toHaveLength(1);
  expect((await path(chatId))[0]?.text).toBe(POET.prompt);
  const other = await newChat();
  await say(other, null, "Hello", { personaId: id });
  expect((await path(other))[0]?.text).toBe(prompt);
  // A name says nothing to the model.
  await app.handlers["personas.change"]({ ...POET, prompt, name: "Short", personaId: id });
  const [renamed] = await app.handlers["personas.list"]({});
  expect(renamed).toMatchObject({ name: "Short", cost: { tokens: 0 } });
});

test("another model reads it for itself, and is told what its template cannot say", async () => {
  const { id } = await app.handlers["personas.add"](POET);
  await read(id);
  await close();
  await start(createFakeEngine("another-model"));
  const persona = await read(id);
  expect(engine.prefills.map(({ length }) => length)).toEqual([persona.tokens]);
  expect(persona.role).toBe("system");
});

test("a document behind it is read, and what comes behind both is put there", async () => {
  const { id } = await app.handlers["personas.add"](POET);
  await read(id);
  const document = await app.handlers["documents.import"]({
    name: "hut.txt",
    mediaType: "text/plain",
    bytes: new TextEncoder().encode("The hut stands at the lake."),
  });
  const chatId = await newChat();
  const first = engine.prefills.length;
  const answer = await say(chatId, null, "Where?", { personaId: id, documentIds: [document.id] });
  expect(answer.status).toBe("done");
  expect((await path(chatId)).map(({ role }) => role)).toEqual([
    "system",
    "document",
    "user",
    "assistant",
  ]);
  const ids = engine.prefills.slice(first).flatMap((one) => [...one]);
  const text = await (await app.engine.model()).wording.decode(Int32Array.from(ids));
  expect(text).not.toContain("rhymes");
  expect(text).toContain("The hut stands at the lake.");
});

test("its temperature holds in its chats; a persona is chosen only for a new one", async () => {
  const { id } = await app.handlers["personas.add"]({ ...POET, temperature: 0.3 });
  const chatId = await newChat();
  const answer = await say(chatId, null, "Hello", { personaId: id });
  await say(chatId, answer.id, "Again");
  expect(engine.samplers.map(({ temperature }) => temperature)).toEqual([0.3, 0.3]);
  await expect(say(chatId, answer.id, "More", { personaId: id })).rejects.toThrow(
    "Only a new chat can begin with a persona.",
  );
  const nothing = { ...POET, prompt: " " };
  await expect(app.handlers["personas.add"](nothing)).rejects.toThrow("needs a system prompt");
});

test("nothing of it stays in the file when it is removed; an audit still knows how its chats began", async () => {
  const secret = "quetzalcoatl-of-the-plateau";
  const { id } = await app.handlers["personas.add"]({ ...POET, prompt: `Say ${secret}.` });
  await read(id);
  const copied = await app.handlers["personas.add"](POET);
  await read(copied.id);
  const chatId = await newChat();
  await say(chatId, null, "Hello", { personaId: copied.id });
  await app.handlers["personas.remove"]({ personaId: id });
  await app.handlers["personas.remove"]({ personaId: copied.id });
  expect(await app.handlers["personas.list"]({})).toEqual([]);
  expect(await app.handlers["chats.audit"]({ chatId, messageId: null })).toMatchObject({
    finding: "holds",
  });
  await close();
  const file = join(folder, "tarn.sqlite");
  const db = new BetterSqlite3(file);
  const states = db.prepare("SELECT 1 FROM snapshots WHERE owner_kind = 'persona'").all();
  const derivations = db.prepare("SELECT 1 FROM derivations WHERE owner_kind = 'persona'").all();
  db.close();
  expect([states, derivations]).toEqual([[], []]);
  expect(readFileSync(file).includes(secret)).toBe(false);
});
