import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";
import type { StateInfo } from "../../store/records.ts";
import type { ReadChunk } from "../documents/document-readings.ts";
import { comfortOf } from "../documents/search.ts";
import { createWording } from "../engine/wording.ts";
import { followSessions } from "../provenance/session-history.ts";
import { createFakeEngine } from "../fake-engine.ts";
import { loadTokenizer, type LoadedTokenizer } from "../tokenizer/load-tokenizer.ts";
import { askParts, type PartsContext } from "./ask-parts.ts";
import type { Grounding } from "./grounding.ts";

const TEXT = "Rain fell on the valley. The code was 17. Snow fell on the hills. The code was 42.";
const HALF = TEXT.indexOf(" Snow") + 1;
const modelPath = fileURLToPath(
  new URL("../../../resources/models/tarn-default-25m-Q8_0.gguf", import.meta.url),
);
let loaded: LoadedTokenizer;

beforeAll(async () => {
  loaded = await loadTokenizer(modelPath);
});

async function placesAsOf(until: number | null): Promise<string[]> {
  const fake = createFakeEngine();
  const said = await loaded.tokenizer.encodeText(" The code was 42.", { first: false });
  fake.answers = [[...said, 5]];
  // Every part is sure, the later one surer.
  fake.likelihood = (fed) => (fed.length === 0 ? 0 : fed[0] === 2 ? 30 : fed[0] === 1 ? 20 : 0);
  const info = await fake.client.call("load", {
    files: [],
    backend: "reference",
    quantise: null,
    kvDtype: "f32",
    threads: null,
  });
  const model = {
    ...followSessions(fake.client),
    info,
    wording: createWording(loaded, info.stopIds),
    entry: {
      id: "",
      name: "",
      path: "",
      format: "gguf" as const,
      modelType: "mamba2",
      bytes: 0,
      supported: true,
      reason: null,
      bundled: true,
    },
  };
  const loadedParts: number[] = [];
  const context: PartsContext = {
    store: { run: (async () => TEXT) as PartsContext["store"]["run"] },
    states: {
      async load(_model, state) {
        loadedParts.push(state.id);
        const { session } = await fake.client.call("create", {});
        const ids = Int32Array.of(state.id);
        await fake.client.call("prefill", { session, ids, chunk: null, logits: "none" });
        return session;
      },
    },
    readings: { chunks: async () => [part(0, 0, HALF - 1), part(1, HALF, TEXT.length)] },
  };
  const grounding: Grounding = {
    question: "Which digits?",
    passages: [],
    refusal: "",
    way: "look-up",
    finding: { passages: [], best: null, missing: [], searchable: true },
    comfort: comfortOf(1),
    reach: [{ documentId: "d", until }],
    names: new Map([["d", "a.txt"]]),
  };
  const passages = await askParts(context, model, grounding);
  expect(new Set(loadedParts)).toEqual(new Set(until === null ? [1, 2] : [1]));
  for (const { start, end, text } of passages) expect(TEXT.slice(start, end)).toBe(text);
  return passages.map(({ text }) => text);
}

function part(ordinal: number, start: number, end: number): ReadChunk {
  const state = { id: ordinal + 1 } as StateInfo;
  return { ordinal, page: null, start, end, ids: new Int32Array(0), state };
}

test("the surest part names the place", async () => {
  expect(await placesAsOf(null)).toEqual(["The code was 42."]);
});

test("as of a place no part behind it is so much as loaded", async () => {
  expect(await placesAsOf(HALF - 1)).toEqual(["The code was 17."]);
});
