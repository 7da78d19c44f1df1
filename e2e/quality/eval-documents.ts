/**
 * How well questions about documents are answered, in numbers: `npm run eval:documents -- [--full] [--write]`. See README.md.
 *
 * Everything is made from the seed, so that two runs of one version differ only in their times.
 */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { refresh } from "../../main/cli/fresh.ts";
import { startNodeEngine } from "../../main/engine/node-host.ts";
import { createWording } from "../../main/services/engine/wording.ts";
import { loadTokenizer } from "../../main/services/tokenizer/load-tokenizer.ts";
import { openStore } from "../../main/store/store.ts";
import { makeDocuments } from "./document-set.ts";
import type { Given, Judged, Way } from "./judged.ts";
import { kinds, needles, overview } from "./tables.ts";
import { createWays, type Ways } from "./ways.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const LENGTHS = [1024, 4096, 16_384, 65_536, 262_144];

const { values } = parseArgs({
  options: {
    /** All lengths in every way, and more documents: hours on two cores. */
    full: { type: "boolean" },
    /** Writes docs/quality.md. */
    write: { type: "boolean" },
    seeds: { type: "string" },
    /** The first of them: 1 is for tuning. */
    first: { type: "string" },
    /** Longest document that is read as a whole and in chunks. */
    read: { type: "string" },
    /** The same for the last seed, where that is to be longer: reading is most of the time. */
    "read-last": { type: "string" },
    facts: { type: "string" },
    model: { type: "string" },
    threads: { type: "string" },
    /** A built engine other than the checkout's. */
    engine: { type: "string" },
    /** Also writes every answer, as JSON. */
    answers: { type: "string" },
  },
});
const full = values.full ?? false;
/** Tuning was done on the seeds below. */
const first = Number(values.first ?? 11);
const seeds = Number(values.seeds ?? (full ? 6 : 2));
const readable = Number(values.read ?? (full ? 262_144 : 4096));
const readableLast = Number(values["read-last"] ?? readable);
const facts = Number(values.facts ?? (full ? 15 : 10));
const modelFile = values.model ?? path.join(root, "resources/models/tarn-default-25m-Q8_0.gguf");

if (values.engine === undefined) await refresh("node");
const engine = startNodeEngine(
  pathToFileURL(values.engine ?? path.join(root, "out/node/node-worker.js")),
);
const folder = await mkdtemp(path.join(tmpdir(), "tarn-quality-"));
const store = await openStore({ file: path.join(folder, "tarn.sqlite"), maxPages: null });
try {
  const { size: bytes } = await stat(modelFile);
  const info = await engine.call("load", {
    files: [{ name: path.basename(modelFile), open: modelFile, bytes }],
    backend: "wasm",
    quantise: null,
    kvDtype: "f32",
    threads: values.threads === undefined ? null : Number(values.threads),
  });
  const loaded = await loadTokenizer(modelFile);
  const wording = createWording(loaded, info.stopIds);
  const factbook = await readFile(
    path.join(root, "e2e/fixtures/quality/world-factbook.md"),
    "utf8",
  );
  const judged: Judged[] = [];
  for (let seed = first; seed < first + seeds; seed++) {
    const documents = await makeDocuments(
      factbook,
      { seed, lengths: LENGTHS, facts, texts: 6, unanswerable: 6 },
      wording.countTokens,
    );
    const ways = createWays(store, engine, info, wording);
    const longest = seed === first + seeds - 1 ? readableLast : readable;
    await ask(ways, seed, documents, longest, async (more) => {
      judged.push(...more);
      if (values.answers !== undefined) await writeFile(values.answers, JSON.stringify(judged));
    });
    await ways.close();
  }
  const text = report(judged, info.name);
  console.log(text);
  if (values.write === true) await writeFile(path.join(root, "docs/quality.md"), text);
} finally {
  await engine.close();
  await store.close();
  await rm(folder, { recursive: true });
}

async function ask(
  ways: Ways,
  seed: number,
  documents: Awaited<ReturnType<typeof makeDocuments>>,
  longest: number,
  keep: (judged: readonly Judged[]) => Promise<void>,
): Promise<void> {
  for (const [index, { length, text, questions }] of documents.entries()) {
    const id = `${seed}-${length}`;
    const put = async (way: Way, given: readonly (Given | undefined)[]): Promise<void> => {
      await keep(
        questions.flatMap((question, at) => {
          const one = given[at];
          return one === undefined ? [] : [{ way, length, question, given: one }];
        }),
      );
      console.error(`${id}: ${way}, ${given.length} questions`);
    };
    await ways.add(id, text);
    await put("look up", await inTurn(questions, (question) => ways.lookUp(id, question)));
    if (length > longest) continue;
    await put(
      "look up, read twice",
      await inTurn(questions, (question) => ways.readTwice(id, question)),
    );
    const following = documents[index + 1];
    const next = following !== undefined && following.length <= longest ? following.text : null;
    const read = await ways.readOn(text, next);
    await put("whole", await inTurn(questions, (question) => ways.whole(id, read, question)));
    await put(
      "whole, then read",
      await inTurn(questions, (question) => ways.wholeTwice(id, read, question)),
    );
    await ways.release(read);
    const asked = questions.map(({ question }) => question);
    const chunks = await ways.chunks(text, asked);
    await put(
      "chunk states",
      chunks.map(({ said }) => said),
    );
    await put(
      "chunk states, then read",
      chunks.map(({ read: again }) => again),
    );
  }
}

/** One after the other: the engine does one thing at a time, and times are taken. */
async function inTurn(
  questions: readonly { readonly question: string }[],
  answer: (question: string) => Promise<Given>,
): Promise<Given[]> {
  const given: Given[] = [];
  for (const { question } of questions) given.push(await answer(question));
  return given;
}

function report(judged: readonly Judged[], model: string): string {
  return `# How well questions about documents are answered

Written by \`npm run eval:documents -- --write --seeds ${seeds} --read ${readable} --read-last ${readableLast} --facts ${facts}\`; how it is done is told in
[e2e/quality](../e2e/quality/README.md). Model: ${model}, wasm backend, greedy; ${seeds} documents, the shorter ones the beginnings of
the longer ones. Chats look up. Where that finds nothing and the parts of the document were read, they ask those, and read what the surest
one points at ("chunk states, then read"). Behind a document that was read as a whole they read the sentences that have the question's words
again ("whole, then read"). What was looked up is not read twice in chats: it is no better.

## Ways and lengths

${overview(judged)}

EM, F1: the answer is the expected words, or the sentence that says them, word for word; the overlap of words. Right: the
expected words stand in the answer. Facts: those that were put into the text. Of the model's own: of facts where the model's
own words were shown, not a quoted sentence. Citation hits: what is cited touches the sentence that answers (of a chunk state:
the chunk holds it). The seconds depend on what else the machine does.

## Facts by length and depth

Right in per cent, by how far into the document the fact stands.

${needles(judged)}

## Kinds of questions

${kinds(judged)}
`;
}
