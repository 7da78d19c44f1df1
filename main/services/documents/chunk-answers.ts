/**
 * A question put to the memories of many parts of a document at once; the surest answer wins. After "Overflow Prevention Enhances
 * Long-Context Recurrent LLMs" (arXiv 2505.07793), which chooses among the chunks by the model's own confidence.
 */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { isRefusal } from "./support.ts";

export interface ChunkAnswer {
  /** Index of its session. */
  readonly chunk: number;
  readonly text: string;
  /** Comparable between the answers to one question; higher is surer. */
  readonly confidence: number;
  /** That were run for it. */
  readonly tokens: number;
}

/** Answers are short: what takes longer is a model that goes on and on. */
const MAX_TOKENS = 48;
const GREEDY = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 64,
  seed: 1,
} as const;

/**
 * Surest first; chunks that say that they do not know come last. The sessions stay as they are.
 *
 * @param sessions each right behind a chunk
 * @param question ids that a question appends to a document
 */
export async function askChunks(
  { engine, wording }: Pick<LoadedModel, "engine" | "wording">,
  sessions: readonly SessionId[],
  question: Int32Array,
  signal?: AbortSignal,
): Promise<ChunkAnswer[]> {
  const forks: SessionId[] = [];
  const options = signal === undefined ? {} : { signal };
  try {
    for (const session of sessions) forks.push((await engine.call("fork", { session })).session);
    const ids = forks.map(() => question);
    await engine.call("prefillMany", { sessions: forks, ids, chunk: null }, options);
    const { branches } = await engine.call(
      "generateMany",
      {
        sessions: forks,
        samplers: forks.map(() => GREEDY),
        stopIds: wording.stopIds,
        maxTokens: MAX_TOKENS,
      },
      options,
    );
    const answers: ChunkAnswer[] = [];
    for (const [chunk, branch] of branches.entries()) {
      const stream = wording.startStream();
      let text = "";
      for (const id of branch.ids) text += await stream.push(id);
      text += await stream.end();
      answers.push({
        chunk,
        text,
        confidence: confidenceOf(text, branch.logProbs),
        tokens: question.length + branch.ids.length,
      });
    }
    return answers.toSorted((a, b) => b.confidence - a.confidence);
  } finally {
    for (const session of forks) await engine.call("free", { session });
  }
}

/** Further down than any answer that says something. */
const UNSURE = -1000;

/**
 * The mean of the tokens' log-probabilities, so that long answers are not at a disadvantage. That a chunk does not know is said surely
 * by most of them, and tells nothing.
 */
export function confidenceOf(text: string, logProbs: Float32Array): number {
  if (logProbs.length === 0) return 2 * UNSURE;
  const mean = logProbs.reduce((sum, one) => sum + one, 0) / logProbs.length;
  return isRefusal(text) ? UNSURE + mean : mean;
}
