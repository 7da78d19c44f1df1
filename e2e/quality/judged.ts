/** Answers beside what is known, and what they come to. */
import type { Question } from "./document-set.ts";
import { contains, exactMatch, tokenF1 } from "./scores.ts";

export const WAYS = [
  "look up",
  "look up, read twice",
  "whole, then read",
  "whole",
  "chunk states, then read",
  "chunk states",
] as const;
export type Way = (typeof WAYS)[number];

/** What a way of answering gave for a question. */
export interface Given {
  readonly text: string;
  /** Whether it says that the document does not say. */
  readonly isRefusal: boolean;
  /** Whose words the answer is. */
  readonly origin: "model" | "quote" | "refusal";
  /** UTF-16 offsets of what is cited; null where nothing is. */
  readonly cited: { readonly start: number; readonly end: number } | null;
  /** Tokens that were run for this question alone. */
  readonly tokens: number;
  readonly seconds: number;
}

export interface Judged {
  readonly way: Way;
  /** Tokens of the document. */
  readonly length: number;
  readonly question: Question;
  readonly given: Given;
}

/** A share in per cent with what it is a share of; "–" of nothing. */
export function share(of: readonly Judged[], is: (one: Judged) => boolean): string {
  if (of.length === 0) return "–";
  return ((100 * of.filter(is).length) / of.length).toFixed(1);
}

export function mean(of: readonly Judged[], value: (one: Judged) => number): number {
  return of.reduce((sum, one) => sum + value(one), 0) / Math.max(of.length, 1);
}

export function isAnswerable({ question }: Judged): boolean {
  return question.answer !== null;
}

/** The right words stand in the answer. */
export function isRight({ question: { answer }, given }: Judged): boolean {
  return answer !== null && contains(given.text, answer.value);
}

export function isExact({ question: { answer }, given }: Judged): boolean {
  return answer !== null && exactMatch(given.text, answer.whole);
}

export function f1Of({ question: { answer }, given }: Judged): number {
  return answer === null ? 0 : tokenF1(given.text, answer.whole);
}

/** What is cited touches the sentence that answers. */
export function isCitedRight({ question: { answer }, given: { cited } }: Judged): boolean {
  return answer !== null && cited !== null && cited.start < answer.end && answer.start < cited.end;
}
