import { FIRST_LETTER, LETTERS } from "./make-model.ts";
import type { Answer } from "./gate.ts";

/** An engine with a model, as the benchmark asks it. Times are the engine's own work, in seconds. */
export interface BenchEngine {
  /** What runs, with its version. */
  readonly name: string;
  /** On what: the adapter or the processor's features, as the engine says it. */
  readonly device: string;
  /** Computes the prompt in a new sequence. */
  prefill(ids: readonly number[]): Promise<number>;
  /** Computes the prompt, untimed, and times `count` steps of one token, each with the choice of the next. */
  decode(ids: readonly number[], count: number): Promise<number>;
  /** The logits after a prompt, and `count` greedy tokens. */
  answer(ids: readonly number[], count: number): Promise<Answer>;
  close(): Promise<void>;
}

/** Tokens that a sequence holds before its decode is timed. */
export const TOKENS_BEFORE_DECODE = 16;

/** A prompt of letters, the same in every run: token ids that are also text for engines that take nothing else. */
export function promptIds(length: number): number[] {
  return Array.from({ length }, (_, i) => FIRST_LETTER + ((i * 7 + (i >> 4) * 3) % LETTERS));
}
