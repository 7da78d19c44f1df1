/**
 * A question put to the memories of many parts of a document at once; the surest part answers. After "Overflow Prevention Enhances
 * Long-Context Recurrent LLMs" (arXiv 2505.07793), which chooses by the model's confidence in its answer. A small model is sure of much;
 * how likely the question itself is behind a part, beside how likely it is behind none, tells far more (decision 0019).
 */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { TurnMessage } from "../tokenizer/conversation.ts";
import { isRefusal } from "./languages.ts";

export interface ChunkAnswer {
  /** Which one, by its number among all. */
  readonly chunk: number;
  readonly text: string;
  /** How much likelier the question is behind the chunk than behind none: ln P(question | chunk) − ln P(question). */
  readonly gain: number;
  /** Comparable between the answers to one question; higher is surer. */
  readonly confidence: number;
}

/** A part with its memory, and what the question said of it. */
export interface LikelyChunk {
  readonly chunk: number;
  /** Right behind the chunk, as a conversation begins with it; it stays as it is. */
  readonly session: SessionId;
  readonly gain: number;
}

/** A gain below this is that of any chunk: nothing is said about what is asked. In nats; see docs/quality.md. */
const KNOWN = 12;
/** Chunks that are asked for an answer: those with the greatest gain. */
export const ANSWERING = 3;
/** Nats that a chunk falls behind by saying that it does not know. */
const UNKNOWING = 10;
/** Answers are short: what takes longer is a model that goes on and on. */
const MAX_TOKENS = 48;
/** Chunks that are asked in one batch: so many states lie in memory. */
export const TOGETHER = 16;
/** Tokens of a usual question, with what stands around it, and of its answer. */
const USUAL = { question: 24, answer: 16 } as const;
const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 64,
  seed: 1,
} as const;
const BLANK: TurnMessage = { role: "document", text: "-" };

/** Tokens that are run for a usual question to so many chunks, and how many states lie in memory for it. */
export function costOfChunks(count: number): { readonly tokens: number; readonly states: number } {
  const answering = Math.min(count, ANSWERING);
  const asked = count + Math.ceil(count / TOGETHER) + answering;
  return {
    tokens: USUAL.question * asked + USUAL.answer * answering,
    states: Math.min(count, TOGETHER),
  };
}

/** Whether the chunk is about what is asked. */
export function isSure({ gain }: Pick<ChunkAnswer, "gain">): boolean {
  return gain >= KNOWN;
}

/**
 * How much likelier the question is behind each chunk than behind none. Needs no answers, so that every chunk can be asked.
 * @param sessions each right behind a chunk, as a conversation begins with it; they stay as they are
 */
export async function gainsOf(
  { engine, wording }: Pick<LoadedModel, "engine" | "wording">,
  sessions: readonly SessionId[],
  question: string,
  signal?: AbortSignal,
): Promise<{ readonly gains: readonly number[]; readonly tokens: number }> {
  const { opening, ids } = await behindChunk(wording, question);
  const options = signal === undefined ? {} : { signal };
  const blank = (await engine.call("create", {})).session;
  try {
    const input = { session: blank, ids: opening, chunk: null, logits: "none" } as const;
    await engine.call("prefill", input, options);
    const all = [...sessions, blank];
    const { logProbs } = await engine.call(
      "scoreMany",
      { sessions: all, ids: all.map(() => ids) },
      options,
    );
    const likelihoods = logProbs.map((list) => list.reduce((sum, one) => sum + one, 0));
    const withoutAny = likelihoods.at(-1) ?? 0;
    return {
      gains: sessions.map((_, index) => (likelihoods[index] ?? 0) - withoutAny),
      tokens: opening.length + ids.length * all.length,
    };
  } finally {
    await engine.call("free", { session: blank });
  }
}

/** What these chunks answer, surest first. */
export async function answersFrom(
  { engine, wording }: Pick<LoadedModel, "engine" | "wording">,
  chunks: readonly LikelyChunk[],
  question: string,
  signal?: AbortSignal,
): Promise<{ readonly answers: readonly ChunkAnswer[]; readonly tokens: number }> {
  if (chunks.length === 0) return { answers: [], tokens: 0 };
  const { ids } = await behindChunk(wording, question);
  const options = signal === undefined ? {} : { signal };
  const forks: SessionId[] = [];
  try {
    for (const { session } of chunks) forks.push((await engine.call("fork", { session })).session);
    await engine.call(
      "prefillMany",
      { sessions: forks, ids: forks.map(() => ids), chunk: null },
      options,
    );
    const samplers = forks.map(() => GREEDY);
    const { stopIds } = wording;
    const { branches } = await engine.call(
      "generateMany",
      // Rounded in one way, however many chunks were found.
      { sessions: forks, samplers, stopIds, maxTokens: MAX_TOKENS, activations: "int16" },
      options,
    );
    const answers: ChunkAnswer[] = [];
    let tokens = ids.length * forks.length;
    for (const [index, { chunk, gain }] of chunks.entries()) {
      const branch = branches[index];
      if (branch === undefined || branch.ids.length === 0) continue;
      const text = await textOf(wording, branch.ids);
      const mean = branch.logProbs.reduce((sum, one) => sum + one, 0) / branch.logProbs.length;
      const confidence = gain + mean - (isRefusal(text) ? UNKNOWING : 0);
      answers.push({ chunk, text, gain, confidence });
      tokens += branch.ids.length;
    }
    return { answers: answers.toSorted((a, b) => b.confidence - a.confidence), tokens };
  } finally {
    for (const session of forks) await engine.call("free", { session });
  }
}

/** The ids of a question behind a chunk, and those of a chunk that says nothing. */
async function behindChunk(
  wording: Pick<LoadedModel["wording"], "opening" | "turn">,
  question: string,
): Promise<{ readonly opening: Int32Array; readonly ids: Int32Array }> {
  const opening = await wording.opening([], [BLANK]);
  const turn = await wording.turn([], [BLANK, { role: "user", text: question }]);
  return { opening, ids: turn.slice(opening.length) };
}

async function textOf(
  wording: Pick<LoadedModel["wording"], "startStream">,
  ids: Int32Array,
): Promise<string> {
  const stream = wording.startStream();
  let text = "";
  for (const id of ids) text += await stream.push(id);
  return text + (await stream.end());
}
