/**
 * A long chat over a document that was read before, as a program that looks at itself: the services with the engine that was built,
 * in one process. Arguments: the data folder, the document's id ("" for none), the turns behind which it looks, as "1,10", and the bytes
 * that states may take ("" for as many as the settings say). Prints a {@link Place} in a line each.
 */
import { statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { EngineClient } from "../../main/engine/client.ts";
import { openNodeFile } from "../../main/engine/node-file.ts";
import { startNodeEngine } from "../../main/engine/node-host.ts";
import { createServices } from "../../main/services/app.ts";
import { summarise } from "./statistics.ts";

/** What a chat takes behind so many turns. */
export interface Place {
  readonly turns: number;
  /** Tokens that stand in it, the document's among them. */
  readonly tokens: number;
  /** Of the process, with all its threads, bytes: median of the last turns. */
  readonly resident: number;
  /** Of the main thread's JavaScript objects, bytes. */
  readonly heap: number;
  /** States and workspace of the engine, bytes. */
  readonly engine: number;
  /** Of the database and its log, bytes. */
  readonly database: number;
  /** Of all stored states, bytes. */
  readonly states: number;
  /** Messages of the chat whose state is stored. */
  readonly kept: number;
  /** Whether that of the last message is among them, and that of the first answer, which was pinned. */
  readonly isTipKept: boolean;
  readonly isPinKept: boolean;
  /** From a question to the first words of its answer, ms: median of the last turns. */
  readonly firstToken: number;
  /** From a question until its answer is complete and its state taken, ms: median of the last turns. */
  readonly turn: number;
  /** What a question and its answer brought, tokens: median of the last turns. */
  readonly turnTokens: number;
}

/** Turns whose median a place has. */
const LAST = 9;
const ANSWER_TOKENS = 30;

const [dataFolder = "", documentId = "", list = "", budget = ""] = process.argv.slice(2);
const places = list.split(",").map(Number);
const root = fileURLToPath(new URL("../../", import.meta.url));
let started: EngineClient | null = null;
const services = await createServices({
  dataFolder,
  resourcesFolder: path.join(root, "resources"),
  version: "bench",
  shell: "browser",
  startEngine: () =>
    (started = startNodeEngine(pathToFileURL(path.join(root, "out/node/node-worker.js")))),
  openFile: openNodeFile,
  openLink: async () => undefined,
});
const { handlers, events, engine } = services;
await engine.model();
const { sampler } = await handlers["settings.get"]({});
await handlers["settings.set"]({
  sampler: { ...sampler, maxTokens: ANSWER_TOKENS },
  ...(budget === "" ? {} : { statesBudget: Number(budget) }),
});
const { id: chatId } = await handlers["chats.create"]({});

let answering = "";
let firstAt = 0;
let ended: () => void = () => undefined;
events.subscribe((name, data) => {
  if (name === "message.delta" && "messageId" in data && data.messageId === answering)
    firstAt ||= performance.now();
  if (name === "message.changed" && "message" in data && data.message.role === "assistant") {
    const { status, error } = data.message;
    if (error !== null) throw new Error(error.message);
    if (!["queued", "reading", "writing"].includes(status)) ended();
  }
});

interface Answered {
  readonly id: string;
  /** To its first words, and to its end. */
  readonly milliseconds: number;
  readonly whole: number;
  /** Behind it, bytes. */
  readonly resident: number;
}

/** Asks and waits for the whole answer. */
async function turn(parentId: string | null, text: string, about: string): Promise<Answered> {
  const done = new Promise<void>((resolve) => {
    ended = resolve;
  });
  firstAt = 0;
  const began = performance.now();
  const sent = handlers["messages.send"]({
    chatId,
    parentId,
    text,
    documentIds: about === "" ? [] : [about],
    reading: about === "" ? "search" : "whole",
  });
  ({ assistantMessageId: answering } = await sent);
  await done;
  const whole = performance.now() - began;
  const milliseconds = firstAt === 0 ? whole : firstAt - began;
  return { id: answering, milliseconds, whole, resident: process.memoryUsage.rss() };
}

async function look(turns: number, last: readonly Answered[]): Promise<Place> {
  const { nodes, tipId } = await handlers["chats.tree"]({ chatId });
  const kept = nodes.filter((one) => one.snapshotBytes > 0);
  const { messages } = await handlers["chats.get"]({ chatId });
  const size = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  const file = path.join(dataFolder, "tarn.sqlite");
  const memory = await started?.call("memory", {});
  const recent = messages.filter(({ role }) => role !== "document").slice(-2 * LAST);
  const pairs = recent.flatMap(({ tokens }, index) =>
    index % 2 === 0 ? [tokens + (recent[index + 1]?.tokens ?? 0)] : [],
  );
  return {
    turns,
    tokens: messages.reduce((sum, { tokens }) => sum + tokens, 0),
    resident: summarise(last.map(({ resident }) => resident)).median,
    heap: process.memoryUsage().heapUsed,
    engine: (memory?.states ?? 0) + (memory?.workspace ?? 0),
    database: size(file) + size(`${file}-wal`),
    states: (await handlers["states.sizes"]({})).bytes,
    kept: kept.length,
    isTipKept: kept.some(({ id }) => id === tipId),
    isPinKept: kept.some(({ isPinned }) => isPinned),
    firstToken: summarise(last.map(({ milliseconds }) => milliseconds)).median,
    turn: summarise(last.map(({ whole }) => whole)).median,
    turnTokens: summarise(pairs).median,
  };
}

let parentId: string | null = null;
const answered: Answered[] = [];
for (let done = 1; done <= Math.max(...places); done++) {
  // About nothing that the document says: its sentences would be read again, which makes turns of many lengths.
  const text = `On day ${done} I walked along the river to the old bridge, met a friend there and thought of you. What would you say to me?`;
  const one = await turn(parentId, text, done === 1 ? documentId : "");
  parentId = one.id;
  answered.push(one);
  if (done === 1) await handlers["messages.pinState"]({ chatId, messageId: one.id, pinned: true });
  if (places.includes(done))
    console.log(JSON.stringify(await look(done, answered.slice(-Math.min(LAST, done)))));
}
await services.close();
