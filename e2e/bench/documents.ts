/**
 * What a document of 100,000 tokens costs a chat that begins behind it: `npm run bench:documents -- [options]`. The program is
 * started anew for every timing, in turn with the document and without it. docs/long-documents.md is written from one run, and its
 * section about a chat past the budget of states from another one.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { refresh } from "../../main/cli/fresh.ts";
import type { CallInput } from "../../main/contract/contract.ts";
import { type Client, connect } from "../contract-client.ts";
import type { Place } from "./long-chat.ts";
import { busySeconds, secondsOf } from "./machine.ts";
import { budgetSection, chatIn, pastBudget } from "./past-budget.ts";
import { summarise } from "./statistics.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const usage = `Usage: npm run bench:documents -- [--folder DIR] [--tokens N] [--starts N] [--turns N] [--prepare | --measure] [--budget MB] [--write]

  --folder DIR   where the two data folders lie (a folder in the system's temporary one); what was read stays read
  --tokens N     of the document (100000)
  --starts N     of each kind, in turn (5)
  --turns N      of the long chat, on a copy of the folder (200)
  --prepare      only reads the document
  --measure      only measures; builds nothing
  --budget MB    only a chat without any document, whose states may take so much
  --write        writes docs/long-documents.md, or its section about that chat`;

const { values } = parseArgs({
  options: {
    folder: { type: "string" },
    tokens: { type: "string" },
    starts: { type: "string" },
    turns: { type: "string" },
    prepare: { type: "boolean" },
    measure: { type: "boolean" },
    budget: { type: "string" },
    write: { type: "boolean" },
    help: { type: "boolean" },
  },
});
const tokens = Number(values.tokens ?? 100_000);
const starts = Number(values.starts ?? 5);
const turns = Number(values.turns ?? 200);
const folder = path.resolve(values.folder ?? path.join(tmpdir(), "tarn-bench-documents"));
/** Where the document was read, and a folder without any. */
const folders = { document: path.join(folder, "document"), plain: path.join(folder, "plain") };
const QUESTION = "What is this about?";
const page = path.join(root, "docs/long-documents.md");
/** A start during which others had more seconds of the processors says nothing of the program. */
const UNDISTURBED = 0.2;

interface Running {
  readonly client: Client;
  readonly process: ChildProcess;
  /** Of `performance.now()`, before the process was made. */
  readonly began: number;
  /** Ends it as the user would, so that the database is tidy. */
  stop(): Promise<void>;
}

/** The program itself, without what looks for changed sources in a checkout. */
async function start(data: string): Promise<Running> {
  const began = performance.now();
  const cli = path.join(root, "out/node/cli.js");
  const child = spawn(
    process.execPath,
    [cli, "serve", "--no-open", "--port", "0", "--data", data],
    {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  const address = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = /^Tarn is at (\S+)$/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.on("exit", (code) => reject(new Error(`The program ended with status ${code}.`)));
  });
  const client = await connect(address);
  return {
    client,
    process: child,
    began,
    async stop() {
      client.close();
      child.kill("SIGTERM");
      await ended;
    },
  };
}

type Question = Omit<CallInput<"messages.send">, "chatId">;

interface Answered {
  readonly chatId: string;
  readonly messageId: string;
  /** From the start of the process to the first words of the answer, s. */
  readonly seconds: number;
  /** Tokens that were read. */
  readonly prefilled: number;
}

/** Asks, and waits for the first words of the answer; `whole` for all of them. */
async function ask(
  { client, began }: Running,
  input: Question,
  before: string | null,
  whole = false,
): Promise<Answered> {
  const chatId = before ?? (await client.call("chats.create", {})).id;
  const first = new Map<string, number>();
  const prefilled = new Map<string, number>();
  const ended = new Set<string>();
  let wake: () => void = () => undefined;
  client.on("message.delta", ({ messageId }) => {
    if (!first.has(messageId)) first.set(messageId, performance.now() - began);
    wake();
  });
  client.on("message.changed", ({ message }) => {
    if (message.role !== "assistant") return;
    if (message.error !== null) throw new Error(message.error.message);
    if (message.prefilled !== null) prefilled.set(message.id, message.prefilled);
    if (!["queued", "reading", "writing"].includes(message.status)) ended.add(message.id);
    wake();
  });
  const { assistantMessageId: messageId } = await client.call("messages.send", {
    chatId,
    ...input,
  });
  for (;;) {
    const [ms, read] = [first.get(messageId), prefilled.get(messageId)];
    if (ms !== undefined && read !== undefined && (!whole || ended.has(messageId)))
      return { chatId, messageId, seconds: ms / 1000, prefilled: read };
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}

/** Imports the beginning of the World Factbook and reads it, where that is not done yet. */
async function prepare(): Promise<void> {
  for (const data of Object.values(folders)) await mkdir(data, { recursive: true });
  const running = await start(folders.document);
  const { client } = running;
  const text = await readFile(path.join(root, "e2e/fixtures/quality/world-factbook.md"), "utf8");
  let [document] = await client.call("documents.list", {});
  if (document === undefined) {
    await client.call("engine.status", {});
    // As long as asked for, to a hundredth.
    let characters = tokens * 4;
    for (;;) {
      const bytes = new TextEncoder().encode(text.slice(0, characters));
      const { id } = await client.call("documents.import", {
        name: "factbook.md",
        mediaType: "text/markdown",
        bytes,
      });
      const counted = await countedTokens(client);
      if (Math.abs(counted / tokens - 1) < 0.005 || characters >= text.length) break;
      await client.call("documents.remove", { documentId: id });
      characters = Math.min(text.length, Math.round((characters * tokens) / counted));
    }
    [document] = await client.call("documents.list", {});
  }
  if (document === undefined) throw new Error("The document was not imported.");
  const began = performance.now();
  await client.call("documents.read", { documentId: document.id });
  for (;;) {
    const [now] = await client.call("documents.list", {});
    if (now?.reading?.status === "read") break;
    if (now?.reading?.status === "failed") throw new Error(now.reading.error ?? "not read");
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  console.error(`read in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  // A chat that stands behind the document, and one without it, to go on with after a start.
  const behind = await ask(running, about([document.id]), null, true);
  const counted = await countedTokens(client);
  await running.stop();
  const plain = await start(folders.plain);
  const without = await ask(plain, about([]), null, true);
  await plain.stop();
  const prepared: Prepared = {
    documentId: document.id,
    tokens: counted,
    behind,
    without,
  };
  await writeFile(path.join(folder, "prepared.json"), JSON.stringify(prepared));
}

/** What is there to go on with. */
interface Prepared {
  readonly documentId: string;
  readonly tokens: number;
  readonly behind: Pick<Answered, "chatId" | "messageId">;
  readonly without: Pick<Answered, "chatId" | "messageId">;
}

function about(documentIds: readonly string[]): Question {
  const reading = documentIds.length > 0 ? "whole" : "search";
  return { parentId: null, text: QUESTION, documentIds: [...documentIds], reading };
}

async function countedTokens(client: Client): Promise<number> {
  for (;;) {
    const [document] = await client.call("documents.list", {});
    const counted = document?.tokens ?? null;
    if (counted !== null) return counted;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** What one start came to. */
interface Started extends Answered {
  /** Of the program behind the answer, bytes. */
  readonly resident: number;
  /** Seconds of processors that others had meanwhile. */
  readonly elsewhere: number;
}

type Kind = "new chat" | "new chat, document" | "old chat" | "old chat, document";

async function startOnce(kind: Kind, prepared: Prepared): Promise<Started> {
  const hasDocument = kind.endsWith("document");
  const before = busySeconds();
  const running = await start(hasDocument ? folders.document : folders.plain);
  const old = hasDocument ? prepared.behind : prepared.without;
  const answered = kind.startsWith("new")
    ? await ask(running, about(hasDocument ? [prepared.documentId] : []), null)
    : await ask(running, { ...about([]), parentId: old.messageId }, old.chatId);
  const resident = residentBytes(running.process);
  const elsewhere = busySeconds() - before - secondsOf(running.process.pid ?? 0);
  await running.stop();
  return { ...answered, resident, elsewhere };
}

function residentBytes({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

interface Forks {
  readonly milliseconds: readonly number[];
  /** That the database grew by, log and all, each. */
  readonly bytes: number;
}

/** Copies of the chat that stands behind the document, with the document's folder. */
async function forks({ behind }: Prepared, count: number): Promise<Forks> {
  const file = path.join(folders.document, "tarn.sqlite");
  const size = (): number =>
    [file, `${file}-wal`].reduce(
      (sum, one) => sum + (statSync(one, { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
  const settled = async (job: (running: Running) => Promise<void>): Promise<number> => {
    const running = await start(folders.document);
    // The model's loading is no part of a fork.
    while ((await running.client.call("engine.status", {})).phase !== "ready")
      await new Promise((resolve) => setTimeout(resolve, 20));
    await job(running);
    await running.stop();
    return size();
  };
  const milliseconds: number[] = [];
  const before = await settled(async () => undefined);
  const after = await settled(async ({ client }) => {
    for (let fork = 0; fork < count; fork++) {
      const began = performance.now();
      await client.call("messages.fork", { chatId: behind.chatId, messageId: behind.messageId });
      milliseconds.push(performance.now() - began);
    }
  });
  return { milliseconds, bytes: (after - before) / count };
}

/** A chat over the document, turn by turn, in a copy of its folder, which is as it was afterwards. */
async function longChat({ documentId }: Prepared): Promise<readonly Place[]> {
  const copy = await mkdtemp(path.join(folder, "long-chat-"));
  try {
    await copyFile(path.join(folders.document, "tarn.sqlite"), path.join(copy, "tarn.sqlite"));
    return await chatIn(copy, documentId, "", turns);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function measure(): Promise<string> {
  const prepared = JSON.parse(
    await readFile(path.join(folder, "prepared.json"), "utf8"),
  ) as Prepared;
  const kinds: readonly Kind[] = [
    "new chat",
    "new chat, document",
    "old chat",
    "old chat, document",
  ];
  const all = new Map<Kind, Started[]>(kinds.map((kind) => [kind, []]));
  for (let round = 0; round < starts; round++)
    for (const kind of kinds) {
      const started = await startOnce(kind, prepared);
      all.get(kind)?.push(started);
      console.error(
        `${kind}: ${started.seconds.toFixed(3)} s, ${started.prefilled} tokens read, ${started.elsewhere.toFixed(2)} s elsewhere`,
      );
    }
  const forked = await forks(prepared, 20);
  return report(prepared, all, forked, await longChat(prepared));
}

function disturbance(starts: readonly Started[]): string {
  if (starts.length === 0) return "No start was disturbed.";
  const { min, max } = summarise(starts.map(({ seconds }) => seconds));
  return `Left out ${starts.length === 1 ? "is one start" : `are ${starts.length} starts`} of ${min.toFixed(2)} to ${max.toFixed(2)} s,
during which other programs, or the host of the machine, had more than ${UNDISTURBED} s of its processors.`;
}

function report(
  { tokens: read }: Prepared,
  all: ReadonlyMap<Kind, readonly Started[]>,
  forked: Forks,
  long: readonly Place[],
): string {
  const disturbed = [...all.values()].flat().filter(({ elsewhere }) => elsewhere > UNDISTURBED);
  const rows = [...all].map(([kind, every]) => {
    // Where the system does not tell, all count.
    const list = every.filter(({ elsewhere }) => !(elsewhere > UNDISTURBED));
    if (list.length === 0) return `| ${kind} | 0 | - | - | - | - | - |`;
    const { median, min, max } = summarise(list.map(({ seconds }) => seconds));
    const resident = summarise(list.map((one) => one.resident)).median;
    const prefilled = summarise(list.map((one) => one.prefilled)).median;
    return `| ${kind} | ${list.length} | ${median.toFixed(2)} | ${min.toFixed(2)} | ${max.toFixed(2)} | ${prefilled} | ${(resident / 1e6).toFixed(0)} |`;
  });
  const fork = summarise(forked.milliseconds);
  const mega = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const places = long.map((place, index) => {
    const before = long[index - 1];
    const perTurn =
      before === undefined
        ? "-"
        : mega((place.database - before.database) / (place.turns - before.turns));
    return `| ${place.turns} | ${place.tokens.toLocaleString("en")} | ${mega(place.resident)} | ${mega(place.heap)} | ${mega(place.engine)} | ${perTurn} | ${place.firstToken.toFixed(0)} |`;
  });
  const turnTokens = summarise(long.map((place) => place.turnTokens)).median;
  return `# What a long document costs a chat

Written by \`npm run bench:documents -- --write\`: a document of ${read.toLocaleString("en")} tokens, read before; the default model; ${cpus().length} cores
(${cpus()[0]?.model ?? "unknown"}). Every start is a new process; the kinds are taken in turn, ${starts} of each. The time runs from the making
of the process to the first words of the answer, through the server that the browser talks to. ${disturbance(disturbed)}

| start | starts | median s | least | most | tokens read | resident MB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
${rows.join("\n")}

The tokens that are read are those of the question and what stands around it. A fork of the chat behind the document takes ${fork.median.toFixed(1)} ms (median of
${fork.runs}; ${fork.min.toFixed(1)} to ${fork.max.toFixed(1)}) and ${Math.round(forked.bytes).toLocaleString("en")} bytes of database.

## A long chat behind it

One chat over the document in one process, ${turns} turns of some ${turnTokens} tokens, question and answer together (in the process of the
program's services, without the server before them). Resident memory and the time from a question to the first words of its answer are medians
of the last 9 turns; the heap is that of the main thread's JavaScript; the engine's bytes are states and workspace, without weights.

| turns | tokens of the chat | resident MB | heap MB | engine MB | database MB a turn | first token ms |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${places.join("\n")}

Every message's state is stored, two of 6.5 MB a turn with this model, until the budget of the settings (4 GB) is reached; then older ones
go, and the file grows by words and ids alone.
`;
}

if (values.help === true) console.log(usage);
else {
  if (values.measure !== true) {
    await refresh("node");
    await refresh("renderer");
  }
  if (values.budget !== undefined) {
    const section = await pastBudget(folder, Number(values.budget), turns);
    console.log(section);
    const before = await readFile(page, "utf8");
    const above = before.slice(0, before.length - budgetSection(before).length).trimEnd();
    if (values.write === true) await writeFile(page, `${above}\n\n${section}`);
  } else if (values.measure !== true || !existsSync(path.join(folder, "prepared.json")))
    await prepare();
  if (values.prepare !== true && values.budget === undefined) {
    const text = await measure();
    console.log(text);
    const kept = existsSync(page) ? budgetSection(await readFile(page, "utf8")) : "";
    if (values.write === true) await writeFile(page, `${text}${kept}`);
  }
}
