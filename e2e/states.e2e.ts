/** What the browser shell's server promises about states, with the real engine, without a browser: over the contract itself. */
import path from "node:path";
import BetterSqlite3 from "better-sqlite3";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Message } from "../main/contract/dto.ts";
import { dataFolder, type Server, startServer } from "./app.ts";
import { type Client, connect } from "./contract-client.ts";
import { minutes } from "./document.ts";

let data: Awaited<ReturnType<typeof dataFolder>>;
let server: Server;
let client: Client;

async function start(): Promise<void> {
  server = await startServer(data.path);
  client = await connect(server.address);
}

async function powerCut(): Promise<void> {
  client.close();
  await server.kill();
}

beforeAll(async () => {
  data = await dataFolder();
  await start();
});
afterAll(async () => {
  client?.close();
  await server?.kill();
  await data?.release();
});

async function lastMessage(
  chatId: string,
  wanted: (message: Message) => boolean,
): Promise<Message> {
  for (;;) {
    const last = (await client.call("chats.get", { chatId })).messages.at(-1);
    if (last !== undefined && wanted(last)) return last;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const isFinal = ({ status }: Message): boolean =>
  status !== "queued" && status !== "reading" && status !== "writing";

async function say(
  chatId: string,
  parentId: string | null,
  text: string,
  documentIds: string[] = [],
): Promise<Message> {
  await client.call("messages.send", { chatId, parentId, text, documentIds, reading: "search" });
  return lastMessage(chatId, isFinal);
}

test("a power cut between turns costs nothing: the next turn reads its own tokens, and the answer is the same as without it", async () => {
  const { id: chatId } = await client.call("chats.create", {});
  const { id: documentId } = await client.call("documents.import", {
    name: "minutes.pdf",
    mediaType: "application/pdf",
    bytes: new Uint8Array(await minutes(20, { 11: "The access code for the archive is 4821." })),
  });
  const first = await say(chatId, null, "What is the access code for the archive?", [documentId]);
  expect(first.text).toContain("4821");
  const fork = await client.call("messages.fork", { chatId, messageId: first.id });
  const unharmed = await say(fork.chatId, first.id, "What can you do?");

  await powerCut();
  await start();
  const next = await say(chatId, first.id, "What can you do?");
  expect(next).toMatchObject({
    text: unharmed.text,
    prefilled: unharmed.prefilled,
    status: "done",
  });
  const { messages } = await client.call("chats.get", { chatId });
  expect(next.prefilled).toBe(messages.at(-2)?.tokens);

  const { assistantMessageId } = await client.call("messages.regenerate", {
    chatId,
    messageId: next.id,
  });
  expect(
    await lastMessage(chatId, (message) => message.id === assistantMessageId && isFinal(message)),
  ).toMatchObject({ prefilled: 0 });
  expect(client.notices).toEqual([]);
});

test("a power cut while writing keeps what was shown a second before, and the chat goes on", async () => {
  const { id: chatId } = await client.call("chats.create", {});
  await client.call("settings.set", {
    sampler: {
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      repetitionWindow: 0,
      seed: 7,
      maxTokens: 4000,
    },
  });
  await client.call("messages.send", {
    chatId,
    parentId: null,
    text: "Continue: Once upon a time there was",
    documentIds: [],
    reading: "search",
  });
  await lastMessage(chatId, ({ text, status }) => text.length > 0 || status === "done");
  await powerCut();
  await start();
  const cut = await lastMessage(chatId, isFinal);
  const next = await say(chatId, cut.id, "Hello again.");
  expect(next.status).toBe("done");
  const { messages } = await client.call("chats.get", { chatId });
  const question = messages.at(-2)?.tokens ?? 0;
  // Where the answer was complete before the cut, its state was stored; where not, its tokens are read from the question on.
  expect([question, question + cut.tokens]).toContain(next.prefilled);
});

test("damaged states are told, and rebuilt from the token ids", async () => {
  const [chat] = await client.call("chats.list", { query: "access code" });
  const chatId = chat?.id ?? "";
  await powerCut();
  const db = new BetterSqlite3(path.join(data.path, "tarn.sqlite"));
  for (const { id, zstd } of db
    .prepare<[], { id: number; zstd: Buffer }>("SELECT snapshot_id AS id, zstd FROM snapshot_heads")
    .all()) {
    const middle = zstd.length >> 1;
    zstd[middle] = (zstd[middle] ?? 0) ^ 0x10;
    db.prepare("UPDATE snapshot_heads SET zstd = ? WHERE snapshot_id = ?").run(zstd, id);
  }
  db.close();
  await start();
  const { messages } = await client.call("chats.get", { chatId });
  const tip = messages.at(-1);
  const read = messages.reduce((sum, message) => sum + message.tokens, 0);
  const next = await say(chatId, tip?.id ?? null, "Thank you.");
  expect(next.status).toBe("done");
  expect(next.prefilled).toBeGreaterThan(read);
  expect(client.notices.join()).toContain("Nothing is lost");
});
