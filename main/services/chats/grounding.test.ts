import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { EventData } from "../../contract/contract.ts";
import type { Message } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";
import { loadTokenizer, type LoadedTokenizer } from "../tokenizer/load-tokenizer.ts";

const resourcesFolder = fileURLToPath(new URL("../../../resources", import.meta.url));
const END = 5;
const QUESTION = "What is the access code for the archive?";
const SENTENCE = "The access code for the archive is 4821.";
const TEXT = `${"Rain fell on the valley. ".repeat(80)}\n\n${SENTENCE} It is kept in the blue tin.\n\n${"Nobody minded. ".repeat(80)}`;

let text: LoadedTokenizer;
let folder: string;
let engine: FakeEngine;
let app: Services;
let deltas: EventData<"message.delta">[];

beforeAll(async () => {
  text = await loadTokenizer(join(resourcesFolder, "models/tarn-default-25m-Q8_0.gguf"));
});
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-grounds-"));
  engine = createFakeEngine();
  deltas = [];
  app = await startServices(folder, engine);
  app.events.subscribe((name, data) => {
    if (name === "message.delta") deltas.push(data as EventData<"message.delta">);
  });
});
afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

async function says(words: string): Promise<void> {
  const ids = await text.tokenizer.encodeText(` ${words}`, { first: false });
  engine.answers = [[...ids, END]];
}

async function attach(): Promise<string> {
  const bytes = new TextEncoder().encode(TEXT);
  const input = { name: "valley.txt", mediaType: "text/plain", bytes };
  return (await app.handlers["documents.import"](input)).id;
}

async function ask(
  chatId: string,
  parentId: string | null,
  words: string,
  documentIds: string[] = [],
): Promise<Message> {
  const sent = await app.handlers["messages.send"]({
    chatId,
    parentId,
    text: words,
    documentIds,
    reading: "search",
  });
  for (;;) {
    const { messages } = await app.handlers["chats.get"]({ chatId });
    const message = messages.find(({ id }) => id === sent.assistantMessageId);
    if (message !== undefined && ["done", "failed"].includes(message.status)) return message;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function newChat(): Promise<string> {
  return (await app.handlers["chats.create"]({})).id;
}

test("an answer that the document supports stands, with the sentence that says so", async () => {
  await says("The code is 4821.");
  const answer = await ask(await newChat(), null, QUESTION, [await attach()]);
  expect(answer).toMatchObject({
    text: "The code is 4821.",
    grounds: { way: "look-up", origin: "model", isFound: true },
    passages: [{ file: "valley.txt", text: SENTENCE }],
  });
  const [cited] = answer.passages;
  expect(TEXT.slice(cited?.start, cited?.end)).toBe(SENTENCE);
});

test("one that it does not support is replaced by the sentence before anyone sees it, and the chat goes on from there", async () => {
  await says("The code is 1234.");
  const chatId = await newChat();
  const answer = await ask(chatId, null, QUESTION, [await attach()]);
  expect(answer).toMatchObject({
    text: SENTENCE,
    grounds: { way: "look-up", origin: "quote", isFound: true },
    passages: [{ text: SENTENCE }],
  });
  expect(deltas.map((delta) => delta.text)).toEqual([SENTENCE]);
  const said = [...(engine.prefills.at(-1) ?? [])];
  expect(await text.tokenizer.decode(said, { skipSpecial: false })).toBe(SENTENCE);
  const before = engine.prefills.length;
  await says("You are welcome.");
  const thanks = await ask(chatId, answer.id, "Thank you.");
  expect(thanks).toMatchObject({ text: "You are welcome.", grounds: null, passages: [] });
  const read = engine.prefills.slice(before).reduce((sum, ids) => sum + ids.length, 0);
  expect(read).toBeLessThan(12);
});

test("names that the document does not have are refused without asking the model", async () => {
  await says("Zora Lind has it.");
  const answer = await ask(await newChat(), null, "What did Zora Lind carry?", [await attach()]);
  expect(answer).toMatchObject({
    text: "The document does not mention Zora Lind.",
    status: "done",
    grounds: { way: "look-up", origin: "refusal", isFound: false },
    passages: [],
  });
  expect(engine.samplers).toEqual([]);
});

test("what a chat says of itself is not looked for in its documents", async () => {
  await says("The code is 4821.");
  const chatId = await newChat();
  const first = await ask(chatId, null, QUESTION, [await attach()]);
  await says("Nice to meet you, Anna.");
  const second = await ask(chatId, first.id, "My name is Anna Berg.");
  expect(second).toMatchObject({ text: "Nice to meet you, Anna.", grounds: null });
  await says("Your name is Anna.");
  const third = await ask(chatId, second.id, "What is my name?");
  expect(third).toMatchObject({ text: "Your name is Anna.", grounds: null });
});

test("where words find nothing the parts that were read are asked, and the sentence that the surest points at is read", async () => {
  const question = "Which digits open it?";
  await says("The code is 4821.");
  const documentId = await attach();
  const before = await ask(await newChat(), null, question, [documentId]);
  expect(before).toMatchObject({ text: "The document does not say.", passages: [] });
  await app.handlers["documents.read"]({ documentId });
  for (;;) {
    const [document] = await app.handlers["documents.list"]({});
    if (document?.reading?.status === "read") break;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const codes = await text.tokenizer.encodeText(" 4821", { first: false });
  engine.likelihood = (fed) => (fed.includes(codes[0] ?? -1) ? -0.1 : -3);
  const answer = await ask(await newChat(), null, question, [documentId]);
  expect(answer).toMatchObject({
    text: "The code is 4821.",
    grounds: { way: "chunks", origin: "model", isFound: true },
    passages: [{ text: SENTENCE }],
  });
  engine.likelihood = () => -3;
  const unsure = await ask(await newChat(), null, question, [documentId]);
  expect(unsure).toMatchObject({ grounds: { way: "look-up", origin: "refusal" }, passages: [] });
});

async function askBehind(documentId: string, question: string): Promise<Message> {
  const chatId = await newChat();
  const { assistantMessageId } = await app.handlers["messages.send"]({
    chatId,
    parentId: null,
    text: question,
    documentIds: [documentId],
    reading: "whole",
  });
  for (;;) {
    const { messages } = await app.handlers["chats.get"]({ chatId });
    const answer = messages.find(({ id }) => id === assistantMessageId);
    if (answer?.status === "done") return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("a document that was read as a whole answers from memory what its words do not say; the sentence is looked for afterwards", async () => {
  const documentId = await attach();
  for (const [words, isFound] of [
    ["The code is 4821.", true],
    ["The code is 1234.", false],
  ] as const) {
    await says(words);
    expect(await askBehind(documentId, "Which digits matter?")).toMatchObject({
      text: words,
      grounds: { way: "whole", origin: "model", isFound },
    });
  }
});

test("a small model reads the sentences that have the question's words again behind the document", async () => {
  const documentId = await attach();
  await says("The code is 4821.");
  expect(await askBehind(documentId, QUESTION)).toMatchObject({
    text: "The code is 4821.",
    grounds: { way: "twice", origin: "model", isFound: true },
    passages: [{ text: SENTENCE }],
  });
  const asked = await text.tokenizer.decode([...(engine.prefills.at(-1) ?? [])], {
    skipSpecial: false,
  });
  expect(asked.split(QUESTION)).toHaveLength(3);
  expect(asked.indexOf(SENTENCE)).toBeGreaterThan(asked.indexOf(QUESTION));

  await says("The code is 1234.");
  expect(await askBehind(documentId, QUESTION)).toMatchObject({
    text: SENTENCE,
    grounds: { way: "twice", origin: "quote" },
  });
  expect(await askBehind(documentId, "What does it say about Zora Lind?")).toMatchObject({
    text: "The document does not mention Zora Lind.",
    grounds: { way: "twice", origin: "refusal" },
  });
});
