/** The ways of answering from a document, by the program's own services, with its parts at hand and no chat around them. */
import type { EngineClient } from "../../main/engine/client.ts";
import type { ModelInfo, SessionId } from "../../models/engine/protocol.ts";
import { groundAnswer, groundingOf, type Grounding } from "../../main/services/chats/grounding.ts";
import {
  ANSWERING,
  answersFrom,
  gainsOf,
  isSure,
  type LikelyChunk,
} from "../../main/services/documents/chunk-answers.ts";
import { cutPassages } from "../../main/services/documents/passages.ts";
import { chunksOfPassages } from "../../main/services/documents/reading-plan.ts";
import { isRefusal } from "../../main/services/documents/languages.ts";
import type { LoadedModel } from "../../main/services/engine/engine-service.ts";
import { followSessions } from "../../main/services/provenance/session-history.ts";
import { commonLength, type Wording } from "../../main/services/engine/wording.ts";
import type { TurnMessage } from "../../main/services/tokenizer/conversation.ts";
import { comfortOf, type Finding } from "../../main/services/documents/search.ts";
import { sentenceFor } from "../../main/services/chats/ask-parts.ts";
import type { MessageRecord, PassageRecord } from "../../main/store/records.ts";
import type { Store } from "../../main/store/store.ts";
import type { Given } from "./judged.ts";

/** Longer answers than any that is right. */
const MAX_TOKENS = 64;
const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 64,
  seed: 1,
} as const;
/** Stands for a document that is read already where only what follows it is wanted. */
const STAND_IN: TurnMessage = { role: "document", text: "-" };
/** Chunks that are read and asked together: their states fit in memory. */
const TOGETHER = 16;

export interface FromChunks {
  /** What the surest chunk says. */
  readonly said: Given;
  /** What is said once the sentence that it points at was read behind the question, as chats have it. */
  readonly read: Given;
}

export interface Ways {
  /** Puts a document where it can be looked up. */
  add(id: string, text: string): Promise<void>;
  lookUp(id: string, question: string): Promise<Given>;
  /** What was looked up is read again behind the question. */
  readTwice(id: string, question: string): Promise<Given>;
  /** From the state behind the whole document. */
  whole(id: string, read: SessionId, question: string): Promise<Given>;
  /** The same, and the sentences that have the question's words are read again behind it, as chats have it. */
  wholeTwice(id: string, read: SessionId, question: string): Promise<Given>;
  /**
   * Reads on to the end of a longer text, which begins with what was read.
   * @returns a session that stands behind the text, as a question wants it; it is the caller's to free
   */
  readOn(text: string, next: string | null): Promise<SessionId>;
  release(read: SessionId): Promise<void>;
  /** Every question to every chunk: a chunk is read once for all of them. */
  chunks(text: string, questions: readonly string[]): Promise<FromChunks[]>;
  /** Ends what `readOn` keeps. */
  close(): Promise<void>;
}

export function createWays(
  store: Store,
  engine: EngineClient,
  info: ModelInfo,
  wording: Wording,
): Ways {
  const model: LoadedModel = {
    ...followSessions(engine),
    info,
    wording,
    entry: {
      id: "",
      name: info.name,
      path: "",
      format: "gguf",
      modelType: info.modelType,
      bytes: 0,
      supported: true,
      reason: null,
      bundled: true,
    },
  };
  let running: { readonly session: SessionId; readonly ids: Int32Array } | null = null;

  async function generate(session: SessionId): Promise<{ text: string; tokens: number }> {
    const { ids } = await engine.call("generate", {
      session,
      sampler: GREEDY,
      stopIds: wording.stopIds,
      maxTokens: MAX_TOKENS,
      keepLogits: false,
    });
    return { text: await textOf(wording, ids), tokens: ids.length };
  }

  /** An answer from nothing but these turns. */
  async function answer(turns: readonly TurnMessage[]): Promise<{ text: string; tokens: number }> {
    const ids = await wording.turn([], turns);
    const { session } = await engine.call("create", {});
    try {
      await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
      const { text, tokens } = await generate(session);
      return { text, tokens: tokens + ids.length };
    } finally {
      await engine.call("free", { session });
    }
  }

  async function grounded(
    grounding: Grounding,
    said: { readonly text: string; readonly tokens: number } | null,
    began: number,
  ): Promise<Given> {
    const { instead, passages, grounds } = await groundAnswer(store, grounding, said?.text ?? null);
    const text = instead ?? said?.text ?? "";
    return {
      text,
      isRefusal: grounds.origin === "refusal" || isRefusal(text),
      origin: grounds.origin,
      cited: passages[0] ?? null,
      tokens: said?.tokens ?? 0,
      seconds: (performance.now() - began) / 1000,
    };
  }

  async function lookUp(id: string, question: string, times: 1 | 2): Promise<Given> {
    const began = performance.now();
    const grounding = await groundingOf(store, model, [userMessage(id, question)]);
    if (grounding === null) throw new Error(`"${question}" was not taken for a question.`);
    if (grounding.refusal !== null) return grounded(grounding, null, began);
    const read: TurnMessage = {
      role: "document",
      text: grounding.passages.map((passage) => passage.text).join("\n\n"),
    };
    const once: readonly TurnMessage[] = [read, { role: "user", text: question }];
    return grounded(grounding, await answer(times === 2 ? [...once, ...once] : once), began);
  }

  /** As chats do where the words of a question find nothing. */
  async function readAgain(text: string, question: string, said: Given): Promise<Given> {
    const { cited } = said;
    const began = performance.now();
    const isUnknown = cited === null || said.origin === "refusal";
    const part: PassageRecord = {
      documentId: "",
      ordinal: 0,
      page: null,
      start: cited?.start ?? 0,
      end: cited?.end ?? 0,
      text: text.slice(cited?.start, cited?.end),
    };
    const passages = isUnknown ? [] : [sentenceFor(part, `${question} ${said.text}`)];
    const grounding: Grounding = {
      question,
      passages: passages.map((one) => ({ ...one, file: "" })),
      refusal: isUnknown ? "The document does not say." : null,
      way: "chunks",
      finding: { passages, best: null, missing: [], searchable: true },
      comfort: comfortOf(info.parameters),
      reach: [],
      names: new Map(),
    };
    const read: TurnMessage = { role: "document", text: passages[0]?.text ?? "" };
    const given = await grounded(
      grounding,
      isUnknown ? null : await answer([read, { role: "user", text: question }]),
      began,
    );
    const { tokens, seconds } = given;
    return { ...given, tokens: tokens + said.tokens, seconds: seconds + said.seconds };
  }

  const { tokenizerHash } = wording;
  async function stateOf(session: SessionId): Promise<Uint8Array> {
    const pages = "all";
    return (await engine.call("snapshot", { session, tokenizerHash, pages })).bytes;
  }
  async function restore(bytes: Uint8Array): Promise<SessionId> {
    const recent = new Int32Array(0);
    return (await engine.call("restore", { bytes, tokenizerHash, recent })).session;
  }

  /** Of a copy of the session that has read the document. */
  async function behind(read: SessionId, question: string, grounding: Grounding): Promise<Given> {
    const began = performance.now();
    const asked: TurnMessage = { role: "user", text: question };
    const passages = grounding.passages.map(({ text }) => text).join("\n\n");
    const ids = await behindDocument(
      wording,
      passages === "" ? [asked] : [asked, { role: "document", text: passages }, asked],
    );
    const { session } = await engine.call("fork", { session: read });
    try {
      await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
      const { text, tokens } = await generate(session);
      return await grounded(grounding, { text, tokens: tokens + ids.length }, began);
    } finally {
      await engine.call("free", { session });
    }
  }

  return {
    async add(id, text) {
      await store.run("addDocument", {
        document: {
          id,
          name: id,
          mediaType: "text/markdown",
          bytes: text.length,
          sha256: id,
          characters: text.length,
          pages: null,
          pageUnit: null,
          notice: null,
          createdAt: 0,
        },
        text,
        content: new Uint8Array(0),
        passages: cutPassages(text, null),
      });
    },
    lookUp: (id, question) => lookUp(id, question, 1),
    readTwice: (id, question) => lookUp(id, question, 2),
    async whole(id, read, question) {
      const path = pathBehind(id, question);
      const grounding = await groundingOf(store, model, path);
      if (grounding === null) throw new Error(`"${question}" was not taken for a question.`);
      const finding: Finding = { passages: [], best: null, missing: [], searchable: false };
      const asked: Grounding = { ...grounding, finding, passages: [], refusal: null, way: "whole" };
      return behind(read, question, asked);
    },
    async wholeTwice(id, read, question) {
      const grounding = await groundingOf(store, model, pathBehind(id, question));
      if (grounding === null) throw new Error(`"${question}" was not taken for a question.`);
      if (grounding.refusal !== null) return grounded(grounding, null, performance.now());
      return behind(read, question, grounding);
    },
    async readOn(text, next) {
      const ids = await wording.opening([], [{ role: "document", text }]);
      const behind =
        next === null ? ids : await wording.opening([], [{ role: "document", text: next }]);
      // The two part where the shorter one ends.
      const shared = commonLength(ids, behind);
      running ??= { ...(await engine.call("create", {})), ids: new Int32Array(0) };
      const { session } = running;
      const fresh = ids.slice(running.ids.length, shared);
      await engine.call("prefill", { session, ids: fresh, chunk: null, logits: "none" });
      running = { session, ids: ids.slice(0, shared) };
      const own = (await engine.call("fork", { session })).session;
      const end = ids.slice(shared);
      await engine.call("prefill", { session: own, ids: end, chunk: null, logits: "none" });
      return own;
    },
    async release(session) {
      await engine.call("free", { session });
    },
    async chunks(text, questions) {
      const plans = chunksOfPassages(cutPassages(text, null), []);
      const states: Uint8Array[] = [];
      const asked = questions.map((question) => ({
        question,
        gains: [] as number[],
        tokens: 0,
        seconds: 0,
      }));
      for (let from = 0; from < plans.length; from += TOGETHER) {
        const group = plans.slice(from, from + TOGETHER);
        const openings = await Promise.all(
          group.map(({ start, end }) =>
            wording.opening([], [{ role: "document", text: text.slice(start, end) }]),
          ),
        );
        const sessions: SessionId[] = [];
        for (const _ of group) sessions.push((await engine.call("create", {})).session);
        await engine.call("prefillMany", { sessions, ids: openings, chunk: null });
        for (const one of asked) {
          const began = performance.now();
          const { gains, tokens } = await gainsOf(model, sessions, one.question);
          one.gains.push(...gains);
          one.tokens += tokens;
          one.seconds += (performance.now() - began) / 1000;
        }
        for (const session of sessions) {
          states.push(await stateOf(session));
          await engine.call("free", { session });
        }
      }
      const given: FromChunks[] = [];
      for (const { question, gains, tokens, seconds } of asked) {
        const began = performance.now();
        const likeliest = gains
          .map((gain, chunk) => ({ gain, chunk }))
          .filter(isSure)
          .toSorted((a, b) => b.gain - a.gain)
          .slice(0, ANSWERING);
        const chunks: LikelyChunk[] = [];
        for (const one of likeliest) {
          const bytes = states[one.chunk] ?? new Uint8Array(0);
          chunks.push({ ...one, session: await restore(bytes) });
        }
        const { answers, tokens: run } = await answersFrom(model, chunks, question);
        for (const { session } of chunks) await engine.call("free", { session });
        const [first] = answers;
        const plan = plans[first?.chunk ?? -1];
        const isUnknown = first === undefined || isRefusal(first.text);
        const said: Given = {
          text: first?.text ?? "The document does not say.",
          isRefusal: isUnknown,
          origin: isUnknown ? "refusal" : "model",
          cited: plan === undefined ? null : { start: plan.start, end: plan.end },
          tokens: tokens + run,
          seconds: seconds + (performance.now() - began) / 1000,
        };
        given.push({ said, read: await readAgain(text, question, said) });
      }
      return given;
    },
    async close() {
      if (running !== null) await engine.call("free", { session: running.session });
      running = null;
    },
  };
}

/** What a question appends behind a document that was read. */
async function behindDocument(
  wording: Wording,
  asked: readonly TurnMessage[],
): Promise<Int32Array> {
  const opening = await wording.opening([], [STAND_IN]);
  const turn = await wording.turn([], [STAND_IN, ...asked]);
  return turn.slice(opening.length);
}

/** A chat that begins with the document. */
function pathBehind(id: string, question: string): MessageRecord[] {
  return [{ ...userMessage(id, ""), role: "document" as const }, userMessage(id, question)];
}

async function textOf(wording: Wording, ids: Int32Array): Promise<string> {
  const stream = wording.startStream();
  let text = "";
  for (const id of ids) text += await stream.push(id);
  return text + (await stream.end());
}

function userMessage(documentId: string, text: string): MessageRecord {
  return {
    id: "question",
    chatId: "quality",
    parentId: null,
    role: "user",
    text,
    status: "done",
    error: null,
    passages: [],
    grounds: null,
    persona: null,
    documents: [{ id: documentId, name: documentId, until: null, asOf: null }],
    tokens: 0,
    prefilled: null,
    tokensPerSecond: null,
    sampler: null,
    createdAt: 0,
  };
}
