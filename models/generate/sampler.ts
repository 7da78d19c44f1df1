/**
 * Chooses the next token from logits. The chain, in the order of transformers' processors: repetition penalty,
 * temperature, top-k, top-p, min-p; then one draw. Every part is linear in the vocabulary; only tokens that top-p
 * keeps are ever put in order.
 */
import { nextUnit, seedState } from "./random.ts";

export interface SamplerOptions {
  /** 0 is greedy. */
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 is off. */
  readonly minP: number;
  /** 1 is off. */
  readonly repetitionPenalty: number;
  /** Tokens back that the penalty looks at. */
  readonly repetitionWindow: number;
  readonly seed: number;
}

/** Options that make no sense (`options`), or logits of which none can be chosen (`logits`). */
export class SamplerError extends Error {
  override readonly name = "SamplerError";
  readonly code: "options" | "logits";

  constructor(code: SamplerError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** Gives the next token for (vocabSize) logits, which stay as they are, and remembers it for the repetition penalty. */
export type Sampler = (logits: Float32Array) => number;

/**
 * @param recent the ids so far, oldest first, for the repetition penalty; copied
 * @throws SamplerError `options`; the sampler itself throws `logits` for NaN, +∞ or nothing but -∞
 */
export function createSampler(options: SamplerOptions, recent: readonly number[]): Sampler {
  checkOptions(options);
  const { repetitionWindow, repetitionPenalty, temperature } = options;
  const seen =
    repetitionPenalty === 1 || repetitionWindow === 0 ? null : recent.slice(-repetitionWindow);
  let random = seedState(options.seed);
  return (logits) => {
    const scores = seen === null ? logits : penalised(logits, seen, repetitionPenalty);
    let token = largest(scores);
    if (temperature > 0) {
      const [unit, next] = nextUnit(random);
      random = next;
      token = draw(candidates(scores, scores[token] ?? 0, options), unit);
    }
    if (seen !== null) {
      seen.push(token);
      if (seen.length > repetitionWindow) seen.shift();
    }
    return token;
  };
}

function checkOptions(options: SamplerOptions): void {
  const { temperature, topK, topP, minP, repetitionPenalty, repetitionWindow, seed } = options;
  const whole = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
  const rules: readonly (readonly [name: keyof SamplerOptions, holds: boolean, range: string])[] = [
    ["temperature", Number.isFinite(temperature) && temperature >= 0, "a number from 0"],
    ["topK", whole(topK), "a whole number from 0"],
    ["topP", topP >= 0 && topP <= 1, "a number from 0 to 1"],
    ["minP", minP >= 0 && minP <= 1, "a number from 0 to 1"],
    [
      "repetitionPenalty",
      Number.isFinite(repetitionPenalty) && repetitionPenalty > 0,
      "a number above 0",
    ],
    ["repetitionWindow", whole(repetitionWindow), "a whole number from 0"],
    ["seed", whole(seed), "a whole number from 0"],
  ];
  for (const [name, holds, range] of rules) {
    if (!holds)
      throw new SamplerError(
        "options",
        `The sampler's ${name} is ${String(options[name])}; expected ${range}.`,
      );
  }
}

/** As in Keskar et al. 2019 (arXiv:1909.05858) and transformers: seen tokens get a lower score whatever its sign. */
function penalised(logits: Float32Array, seen: readonly number[], penalty: number): Float32Array {
  const scores = logits.slice();
  for (const id of new Set(seen)) {
    const score = scores[id];
    if (score !== undefined) scores[id] = score > 0 ? score / penalty : score * penalty;
  }
  return scores;
}

/** The first of the largest. */
function largest(scores: Float32Array): number {
  let best = -1;
  let bestScore = -Infinity;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] ?? NaN;
    // The negated comparison also catches NaN.
    if (!(score < Infinity))
      throw new SamplerError(
        "logits",
        `The logit of token ${id} is ${score}; expected a finite number.`,
      );
    if (score > bestScore) {
      best = id;
      bestScore = score;
    }
  }
  if (best < 0)
    throw new SamplerError("logits", `None of the ${scores.length} logits is above -Infinity.`);
  return best;
}

/** Tokens that may be drawn, with weights that are probabilities up to a common factor; the likeliest has weight 1. */
interface Candidates {
  readonly ids: Int32Array;
  readonly weights: Float64Array;
  readonly count: number;
}

function candidates(
  scores: Float32Array,
  largestScore: number,
  { temperature, topK, topP, minP }: SamplerOptions,
): Candidates {
  // Equal scores at the edge are all kept, as transformers does.
  const least = topK > 0 && topK < scores.length ? kthLargest(scores, topK) : -Infinity;
  const ids = new Int32Array(scores.length);
  const weights = new Float64Array(scores.length);
  let count = 0;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] ?? -Infinity;
    if (score < least) continue;
    ids[count] = id;
    weights[count] = Math.exp((score - largestScore) / temperature);
    count += 1;
  }
  const kept = topP < 1 ? nucleus({ ids, weights, count }, topP) : { ids, weights, count };
  return minP > 0 ? atLeast(kept, minP) : kept;
}

/** The fewest of the likeliest tokens whose probabilities add up to `topP`; at least one. */
function nucleus({ ids, weights, count }: Candidates, topP: number): Candidates {
  let total = 0;
  for (let i = 0; i < count; i++) total += weights[i] ?? 0;
  const heap = Uint32Array.from({ length: count }, (_, i) => i);
  const before = (a: number, b: number): boolean => {
    const difference = (weights[a] ?? 0) - (weights[b] ?? 0);
    return difference > 0 || (difference === 0 && a < b);
  };
  for (let i = (count >> 1) - 1; i >= 0; i--) siftDown(heap, i, count, before);
  const keptIds: number[] = [];
  const keptWeights: number[] = [];
  let mass = 0;
  for (let left = count; left > 0 && (keptIds.length === 0 || mass < topP * total); left--) {
    const top = heap[0] ?? 0;
    keptIds.push(ids[top] ?? 0);
    keptWeights.push(weights[top] ?? 0);
    mass += weights[top] ?? 0;
    heap[0] = heap[left - 1] ?? 0;
    siftDown(heap, 0, left - 1, before);
  }
  return {
    ids: Int32Array.from(keptIds),
    weights: Float64Array.from(keptWeights),
    count: keptIds.length,
  };
}

function siftDown(
  heap: Uint32Array,
  from: number,
  length: number,
  before: (a: number, b: number) => boolean,
): void {
  let parent = from;
  for (;;) {
    let child = 2 * parent + 1;
    if (child >= length) return;
    if (child + 1 < length && before(heap[child + 1] ?? 0, heap[child] ?? 0)) child += 1;
    const a = heap[child] ?? 0;
    const b = heap[parent] ?? 0;
    if (!before(a, b)) return;
    heap[parent] = a;
    heap[child] = b;
    parent = child;
  }
}

/** Tokens at least `minP` times as likely as the likeliest, whose weight is 1. */
function atLeast({ ids, weights, count }: Candidates, minP: number): Candidates {
  let kept = 0;
  for (let i = 0; i < count; i++) {
    if ((weights[i] ?? 0) < minP) continue;
    ids[kept] = ids[i] ?? 0;
    weights[kept] = weights[i] ?? 0;
    kept += 1;
  }
  return { ids, weights, count: kept };
}

/** @param unit in [0, 1) */
function draw({ ids, weights, count }: Candidates, unit: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += weights[i] ?? 0;
  let rest = unit * total;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const weight = weights[i] ?? 0;
    if (weight === 0) continue;
    if (rest < weight) return ids[i] ?? 0;
    rest -= weight;
    last = i;
  }
  // Rounding can leave a little of the sum behind the last token.
  return ids[last] ?? 0;
}

/** Hoare's selection: the value that would stand at place k - 1 in descending order. */
function kthLargest(scores: Float32Array, k: number): number {
  const values = scores.slice();
  let from = 0;
  let to = values.length - 1;
  while (from < to) {
    const pivot = values[(from + to) >> 1] ?? 0;
    let i = from;
    let j = to;
    while (i <= j) {
      while ((values[i] ?? 0) > pivot) i += 1;
      while ((values[j] ?? 0) < pivot) j -= 1;
      if (i > j) break;
      const swapped = values[i] ?? 0;
      values[i] = values[j] ?? 0;
      values[j] = swapped;
      i += 1;
      j -= 1;
    }
    if (k - 1 <= j) to = j;
    else if (k - 1 >= i) from = i;
    else break;
  }
  return values[k - 1] ?? -Infinity;
}
