/**
 * Whether two engines compute the same thing. llama.cpp rounds what it multiplies quantised weights with, to 8 bits, and the
 * factors of f16 weights to f16: how far that alone moves its logits is measured, and a fair peer may be twice as far away.
 */
import { furthest } from "../../kernels/testing/all-close.ts";

/** What an engine gives after a prompt. */
export interface Answer {
  /** (vocab,), after the prompt; null from an engine that gives tokens only. */
  readonly logits: Float32Array | null;
  /** Chosen greedily, one after the other. */
  readonly tokens: readonly number[];
  /** For each of them, how far the largest logit was above the next. */
  readonly margins: readonly number[];
}

/** What the gate saw, and whether it opens. */
export interface Verdict {
  /** The largest difference of a logit between the peer's own f32 path and the one that is timed. */
  readonly peerGap: number;
  /** What is allowed: twice that. */
  readonly allowed: number;
  /** The largest difference of a logit between Tarn and the peer; null where the peer gives no logits. */
  readonly off: number | null;
  /** Tokens after which the greedy choices part; null if they never do. */
  readonly parting: number | null;
  /** How close the two largest logits were where they part. */
  readonly partingMargin: number | null;
  readonly same: boolean;
}

const ALLOWANCE = 2;

/**
 * Compares an engine's answer with the peer's. The margins are the peer's, or ours where it gives no logits.
 * @param peerGap from {@link gapOf}
 */
export function judge(ours: Answer, theirs: Answer, peerGap: number): Verdict {
  const allowed = ALLOWANCE * peerGap;
  const known = theirs.logits === null ? ours : theirs;
  const at = theirs.tokens.findIndex((token, i) => token !== ours.tokens[i]);
  const parting = at < 0 ? null : at;
  const partingMargin = parting === null ? null : (known.margins[parting] ?? NaN);
  const off =
    theirs.logits === null || ours.logits === null ? null : distance(ours.logits, theirs.logits);
  // Not `off > allowed`: what is no number must not pass.
  const same =
    Number.isFinite(allowed) &&
    (off === null || off <= allowed) &&
    (partingMargin === null || partingMargin < allowed);
  return { peerGap, allowed, off, parting, partingMargin, same };
}

/**
 * How far the peer's own paths part: the weights' values as f32, and the way that is timed.
 * @throws RangeError where one gives no logits
 */
export function gapOf(exact: Answer, timed: Answer): number {
  if (exact.logits === null || timed.logits === null) throw new RangeError("no logits to compare");
  return distance(exact.logits, timed.logits);
}

function distance(a: Float32Array, b: Float32Array): number {
  return a.length === b.length ? furthest(a, b) : NaN;
}
