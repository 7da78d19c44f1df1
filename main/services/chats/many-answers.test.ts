import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { ChatTree } from "../../contract/dto.ts";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";
import { loadTokenizer, type LoadedTokenizer } from "../tokenizer/load-tokenizer.ts";

const resourcesFolder = fileURLToPath(new URL("../../../resources", import.meta.url));
const END_OF_TURN = 5;

let text: LoadedTokenizer;
let folder: string;
let engine: FakeEngine;
let app: Services;

beforeAll(async () => {
  text = await loadTokenizer(join(resourcesFolder, "models/tarn-default-25m-Q8_0.gguf"));
});
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-many-"));
  engine = createFakeEngine();
  app = await startServices(folder, engine);
});
afterEach(async () => {
  await app.close();
  rmSync(folder, { recursive: true, force: true });
});

async function answer(words: string): Promise<number[]> {
  return [...(await text.tokenizer.encodeText(` ${words}`, { first: false })), END_OF_TURN];
}

/** The tree, once no answer in it is waiting or running. */
async function atRest(chatId: string): Promise<ChatTree> {
  for (;;) {
    const tree = await app.handlers["chats.tree"]({ chatId });
    if (tree.nodes.every(({ status }) => !["queued", "reading", "writing"].includes(status)))
      return tree;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function ask(words: string): Promise<{ chatId: string; messageId: string }> {
  const { id: chatId } = await app.handlers["chats.create"]({});
  const { assistantMessageId } = await app.handlers["messages.send"]({
    chatId,
    parentId: null,
    text: words,
    documentIds: [],
    reading: "search",
  });
  await atRest(chatId);
  return { chatId, messageId: assistantMessageId };
}

test("several answers come from the stored state in one batch, each with a seed of its own", async () => {
  engine.answers = [await answer("One.")];
  const { chatId, messageId } = await ask("How many?");
  const read = engine.prefills.length;
  engine.answers = [await answer("Two."), await answer("Three."), await answer("Four.")];
  const { assistantMessageIds } = await app.handlers["messages.regenerateMany"]({
    chatId,
    messageId,
    count: 3,
  });
  const { nodes, tipId } = await atRest(chatId);
  expect(engine.prefills.slice(read)).toEqual([]);
  const answers = nodes.filter(({ role }) => role === "assistant");
  expect(answers.map(({ excerpt }) => excerpt)).toEqual(["One.", "Two.", "Three.", "Four."]);
  expect(answers.slice(1).map(({ id }) => id)).toEqual(assistantMessageIds);
  expect(new Set(answers.map(({ parentId }) => parentId)).size).toBe(1);
  expect(new Set(answers.slice(1).map(({ seed }) => seed)).size).toBe(3);
  expect(tipId).toBe(assistantMessageIds.at(-1));
  for (const { snapshotBytes } of answers) expect(snapshotBytes).toBeGreaterThan(0);
});

test("each of them can be continued, reading nothing but the new question", async () => {
  engine.answers = [await answer("One.")];
  const { chatId, messageId } = await ask("How many?");
  engine.answers = [await answer("Two."), await answer("Three.")];
  const { assistantMessageIds } = await app.handlers["messages.regenerateMany"]({
    chatId,
    messageId,
    count: 2,
  });
  await atRest(chatId);
  for (const parentId of assistantMessageIds) {
    const before = engine.prefills.length;
    engine.answers = [await answer("Yes.")];
    await app.handlers["messages.send"]({
      chatId,
      parentId,
      text: "Sure?",
      documentIds: [],
      reading: "search",
    });
    await atRest(chatId);
    const read = engine.prefills.slice(before);
    expect(read).toHaveLength(1);
    expect(read[0]?.length).toBeLessThan(12);
  }
});

test("stopping ends them all, and keeps what was written", async () => {
  engine.answers = [await answer("One.")];
  const { chatId, messageId } = await ask("How many?");
  const two = await answer("Two.");
  engine.answers = [two, await answer("Three.")];
  // The fake writes one after the other: all of the first, and a token of the second.
  const stands = engine.hold("generate", two.length + 1);
  await app.handlers["messages.regenerateMany"]({ chatId, messageId, count: 2 });
  await stands;
  await app.handlers["messages.stop"]({ chatId });
  const { nodes } = await atRest(chatId);
  const answers = nodes.filter(({ role }) => role === "assistant").slice(1);
  expect(answers).toMatchObject([
    { status: "done", excerpt: "Two.", tokens: two.length },
    { status: "stopped", excerpt: "Th", tokens: 1 },
  ]);
});

test("a question is needed, and answers are counted before anything happens", async () => {
  engine.answers = [await answer("One.")];
  const { chatId } = await ask("How many?");
  for (const count of [0, 1, 17])
    await expect(
      app.call("messages.regenerateMany", { chatId, messageId: chatId, count }),
    ).rejects.toMatchObject({ code: "bad-request" });
  await expect(
    app.call("messages.regenerateMany", { chatId, messageId: chatId, count: 2 }),
  ).rejects.toMatchObject({ code: "not-found" });
});
