/** What the services promise of stored states: what they cost, when they are read again, and that nothing is written twice. */
import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Chat, Message } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";

const END = 5;

let folder: string;
let engine: FakeEngine;
let app: Services;
let notices: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-memory-"));
  await start(createFakeEngine());
});
afterEach(async () => {
  vi.restoreAllMocks();
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(next: FakeEngine): Promise<void> {
  engine = next;
  engine.answers = [[300, 301, 302, END]];
  notices = [];
  app = await startServices(folder, engine);
  app.events.subscribe((name, data) => {
    if (name === "notice" && "text" in data) notices.push(data.text);
  });
  await app.engine.model();
}

async function restart(next: FakeEngine): Promise<void> {
  await app.close();
  await start(next);
}

async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 10));
}

const chat = (chatId: string): Promise<Chat> => app.handlers["chats.get"]({ chatId });
const isFinal = ({ status }: Message): boolean =>
  !["queued", "reading", "writing"].includes(status);

async function say(chatId: string, parentId: string | null, text: string): Promise<string> {
  const answer = await send(chatId, parentId, text);
  await until(async () =>
    (await chat(chatId)).messages.some((message) => message.id === answer && isFinal(message)),
  );
  return answer;
}

async function send(chatId: string, parentId: string | null, text: string): Promise<string> {
  const documentIds: string[] = [];
  const asked = { chatId, parentId, text, documentIds, reading: "search" } as const;
  return (await app.handlers["messages.send"](asked)).assistantMessageId;
}

/** A chat of two questions with their answers. */
async function talk(): Promise<{ chatId: string; messages: Message[] }> {
  const { id: chatId } = await app.handlers["chats.create"]({});
  const first = await say(chatId, null, "One, two, three");
  await say(chatId, first, "Four, five");
  return { chatId, messages: (await chat(chatId)).messages };
}

function edit(sql: string, ...values: (string | number)[]): void {
  const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
  db.pragma("foreign_keys = ON");
  db.prepare(sql).run(...values);
  db.close();
}

const tokens = (messages: readonly Message[]): number =>
  messages.reduce((sum, message) => sum + message.tokens, 0);

test("where every state is stored, going on anywhere costs nothing", async () => {
  const { chatId, messages } = await talk();
  const costs = await app.handlers["chats.cost"]({ chatId });
  const nothing = { tokens: 0, seconds: 0 };
  expect(costs).toEqual({
    messages: messages.map(({ id }) => ({
      messageId: id,
      before: nothing,
      behind: nothing,
      isPinned: false,
    })),
    reason: null,
  });
});

test("what is not stored costs the way from the nearest ancestor, told before and read after", async () => {
  const { chatId, messages } = await talk();
  const [one, two, three, four] = messages;
  await app.close();
  edit("DELETE FROM snapshots WHERE owner_id IN (?, ?)", three?.id ?? "", four?.id ?? "");
  await start(createFakeEngine());
  const costs = await app.handlers["chats.cost"]({ chatId });
  expect(costs?.reason).toBe("not-stored");
  const [ofThree, ofFour] = [three?.tokens ?? NaN, four?.tokens ?? NaN];
  expect(costs?.messages.map(({ before, behind }) => [before.tokens, behind.tokens])).toEqual([
    [0, 0],
    [0, 0],
    [0, ofThree],
    [ofThree, ofThree + ofFour],
  ]);
  expect(costs?.messages[3]?.behind.seconds).toBeNull();
  const before = engine.prefills.length;
  await say(chatId, four?.id ?? null, "Six");
  const read = tokens((await chat(chatId)).messages.slice(2, 5));
  expect(engine.prefills.slice(before).reduce((sum, ids) => sum + ids.length, 0)).toBe(read);
  expect([one?.role, two?.role]).toEqual(["user", "assistant"]);
});

test("another model is told as such, keeps the old states, and reads the chat again when asked", async () => {
  const { chatId, messages } = await talk();
  const { snapshots } = await app.handlers["states.sizes"]({});
  await restart(createFakeEngine("another quantisation"));
  expect(await app.handlers["chats.cost"]({ chatId })).toMatchObject({ reason: "other-model" });
  expect(engine.prefills).toEqual([]);

  // Between the ends of messages nothing is kept by the clock.
  vi.spyOn(performance, "now").mockReturnValue(performance.now());
  await app.handlers["chats.rebuild"]({ chatId });
  await until(async () => (await app.handlers["chats.cost"]({ chatId }))?.reason === null);
  expect(engine.prefills.reduce((sum, ids) => sum + ids.length, 0)).toBe(tokens(messages));
  expect((await app.handlers["states.sizes"]({})).snapshots).toBe(snapshots + 1);

  await restart(createFakeEngine());
  expect(await app.handlers["chats.cost"]({ chatId })).toMatchObject({ reason: null });
  expect(notices).toEqual([]);
});

test("states of an older version of the arithmetic are read again in the background, and told", async () => {
  const { chatId, messages } = await talk();
  const other = await talk();
  const newer = createFakeEngine();
  newer.numericVersions = [2];
  await restart(newer);
  const reason = async (id: string) => (await app.handlers["chats.cost"]({ chatId: id }))?.reason;
  await until(async () => (await reason(chatId)) === null && (await reason(other.chatId)) === null);
  expect(notices.filter((text) => text.includes("2 chats"))).toHaveLength(1);
  expect(engine.prefills.reduce((sum, ids) => sum + ids.length, 0)).toBe(
    tokens(messages) + tokens(other.messages),
  );
  const costs = await app.handlers["chats.cost"]({ chatId });
  expect(costs?.messages.every(({ behind }) => behind.tokens === 0)).toBe(true);

  const again = createFakeEngine();
  again.numericVersions = [3, 2];
  await restart(again);
  expect(await reason(chatId)).toBeNull();
  expect(engine.prefills).toEqual([]);
});

test("a turn does not wait for the background", async () => {
  const { chatId, messages } = await talk();
  const long = await app.handlers["chats.create"]({});
  await say(long.id, null, "word ".repeat(2000));
  const newer = createFakeEngine();
  newer.numericVersions = [2];
  newer.chunk = 128;
  const stands = newer.hold("prefill", 1);
  await restart(newer);
  await stands;
  await send(chatId, messages.at(-1)?.id ?? null, "Now");
  await newer.hold("generate", 0);
  // The chunk that was being read, and then all that the turn needs: the rest of the long chat waits.
  expect(newer.prefills.slice(0, 2).map(({ length }) => length)).toEqual([128, 128]);
  const read = newer.prefills.slice(2).reduce((sum, { length }) => sum + length, 0);
  expect(read).toBe(tokens((await chat(chatId)).messages));
  expect((await app.handlers["chats.cost"]({ chatId: long.id }))?.reason).toBe("older-version");
  newer.release();
  await until(async () => (await chat(chatId)).messages.every(isFinal));
  expect((await chat(chatId)).messages.at(-1)?.status).toBe("done");
});

test("a smaller budget takes effect at once, and costs only reading", async () => {
  const { chatId } = await talk();
  const { bytes } = await app.handlers["states.sizes"]({});
  expect(bytes).toBeGreaterThan(0);
  const settings = await app.handlers["settings.set"]({ statesBudget: 64 * 2 ** 20 });
  expect(await app.handlers["states.sizes"]({})).toMatchObject({
    bytes,
    budget: settings.statesBudget,
  });
  expect(await app.handlers["chats.cost"]({ chatId })).toMatchObject({ reason: null });
});

test("a deleted chat is gone from the file when the program has ended", async () => {
  const { id: chatId } = await app.handlers["chats.create"]({});
  const first = await say(chatId, null, "tarn-planted-2718281828");
  await say(chatId, first, "And again");
  const file = (): Buffer => readFileSync(join(folder, "tarn.sqlite"));
  await app.handlers["chats.delete"]({ chatId });
  await app.handlers["chats.restore"]({ chatId });
  await restart(createFakeEngine());
  expect(file().includes("tarn-planted-2718281828")).toBe(true);
  await app.handlers["chats.delete"]({ chatId });
  await restart(createFakeEngine());
  expect(file().includes("tarn-planted-2718281828")).toBe(false);
  expect(await app.handlers["states.sizes"]({})).toMatchObject({ bytes: 0 });
});
