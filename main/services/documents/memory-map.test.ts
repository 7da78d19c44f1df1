import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Services } from "../app.ts";
import { startServices } from "../services.testing.ts";
import { createFakeEngine, type FakeEngine } from "../fake-engine.ts";

const TEXT =
  "The quick brown fox jumps over the lazy dog. Kettles boil, and über all things is peace.";

let folder: string;
let engine: FakeEngine;
let app: Services;
let documentId: string;
let isOpen = false;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-map-"));
  engine = createFakeEngine();
  app = await startServices(folder, engine);
  isOpen = true;
  const bytes = new TextEncoder().encode(TEXT);
  ({ id: documentId } = await app.handlers["documents.import"]({
    name: "fox.txt",
    mediaType: "text/plain",
    bytes,
  }));
});
afterEach(async () => {
  await close();
  rmSync(folder, { recursive: true, force: true });
});

/** Once: what is closed cannot be closed again. */
async function close(): Promise<void> {
  if (isOpen) await app.close();
  isOpen = false;
}

const whole = { start: 0, end: 10_000, layer: null };

test("a document that was not mapped has no map; one that was has a share for each word", async () => {
  expect(await app.handlers["documents.memory"]({ documentId, ...whole })).toBeNull();
  await app.handlers["documents.mapMemory"]({ documentId });
  const map = await app.handlers["documents.memory"]({ documentId, ...whole });
  expect(map?.layers).toEqual(["layers.0.ssm"]);
  const words = map?.spans.map(({ start, end }) => TEXT.slice(start, end).trim());
  expect(words).toEqual(TEXT.split(" "));
  for (const { share } of map?.spans ?? []) expect(share).toBe(1);
});

test("a part of it is told by its offsets in the whole", async () => {
  await app.handlers["documents.mapMemory"]({ documentId });
  const start = TEXT.indexOf("Kettles");
  const end = TEXT.indexOf("all");
  const map = await app.handlers["documents.memory"]({ documentId, start, end, layer: 0 });
  expect(map?.spans.map((span) => TEXT.slice(span.start, span.end).trim())).toEqual([
    "Kettles",
    "boil,",
    "and",
    "über",
  ]);
});

test("a layer that is not there is refused, a document that is gone is told", async () => {
  await app.handlers["documents.mapMemory"]({ documentId });
  await expect(
    app.handlers["documents.memory"]({ documentId, ...whole, layer: 1 }),
  ).rejects.toMatchObject({ code: "bad-request" });
  await app.handlers["documents.remove"]({ documentId });
  await expect(app.handlers["documents.memory"]({ documentId, ...whole })).rejects.toMatchObject({
    code: "not-found",
  });
  await expect(app.handlers["documents.mapMemory"]({ documentId: "gone" })).rejects.toMatchObject({
    code: "not-found",
  });
});

test("closing does not wait for a map", async () => {
  const stands = engine.hold("memoryMap", 1);
  const map = app.handlers["documents.mapMemory"]({ documentId });
  const refused = expect(map).rejects.toMatchObject({ code: "cancelled" });
  await stands;
  await close();
  await refused;
});

test("a map makes way for a chat, and goes on behind it with what it has done", async () => {
  const stands = engine.hold("memoryMap", 3);
  engine.answers = [[300, 5]];
  const { id: chatId } = await app.handlers["chats.create"]({});
  const order: string[] = [];
  app.events.subscribe((name, data) => {
    if (name === "document.mapping") order.push("map");
    if (name === "message.changed" && "message" in data && data.message.role === "assistant")
      order.push(data.message.status);
  });
  const map = app.handlers["documents.mapMemory"]({ documentId });
  await stands;
  await app.handlers["messages.send"]({
    chatId,
    parentId: null,
    text: "Hello",
    documentIds: [],
    reading: "search",
  });
  engine.release();
  await map;
  // The step that was being made, then the chat, then all the others.
  const [first, second] = [order.indexOf("reading"), order.indexOf("done")];
  expect(order.slice(0, first).filter((one) => one === "map")).toHaveLength(4);
  expect(order.slice(first, second)).not.toContain("map");
  expect(order.lastIndexOf("map")).toBeGreaterThan(second);
  // From one end to the other, no step twice.
  expect(engine.mapped).toEqual(Array.from({ length: engine.mapped.length }, (_, at) => at + 1));
  expect(await app.handlers["documents.memory"]({ documentId, ...whole })).not.toBeNull();
});
