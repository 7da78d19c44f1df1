/** The next token by a rule, as kernels/spec/choice.ts defines it; linear in the vocabulary. */
import {
  DRAW_BITS,
  F32_BOUNDS,
  MOST_DISTANCE,
  NEVER,
  weightOf,
  type ChoiceRule,
} from "../../kernels/spec/choice.ts";
import { SamplerError } from "./sampler-error.ts";

/** Distances of 25 bits are looked up by three digits, the highest first. */
const HIGH_SHIFT = 16;
const HIGH_BINS = 512;
const LOW_SHIFTS = [8, 0] as const;
const LOW_BINS = 256;

/** The largest top-k for which a heap is quicker. */
const MOST_HEAPED = 512;

/** A token's lowest digit. */
const DIGIT = 2 ** DRAW_BITS - 1;

/**
 * Chooses from (vocabSize) scores, already penalised. `uniform` is a whole number below 2³², asked for where the rule draws.
 * @throws SamplerError `logits` for NaN, +∞ or nothing but -∞
 */
export type Chooser = (scores: Float32Array, rule: ChoiceRule, uniform: () => number) => number;

/** A chooser with memory of its own, used again for each token. */
export function createChooser(): Chooser {
  let candidates: Candidates = { count: 0, ids: new Int32Array(), distances: new Uint32Array() };
  return (scores, rule, uniform) => {
    const best = largest(scores);
    if (!rule.draws) return best;
    if (candidates.ids.length < scores.length) {
      const { length } = scores;
      candidates = { count: 0, ids: new Int32Array(length), distances: new Uint32Array(length) };
    }
    const { topK, topP, mostDistance } = rule;
    const narrows = topK > 0 || topP > 0;
    const top = bounded(scores[best] ?? 0);
    const few = topK > 0 && topK <= MOST_HEAPED && topK < scores.length;
    // Distances grow as scores fall, so that the k-th score has the k-th distance.
    const kth = few ? distanceOf(kthLargest(scores, topK), top, rule) : MOST_DISTANCE;
    gather(candidates, scores, top, rule, Math.min(kth, narrows ? MOST_DISTANCE : mostDistance));
    if (topK > 0 && !few)
      keepUpTo(
        candidates,
        threshold(candidates, one, () => topK),
      );
    if (topP > 0) {
      const needed = (total: number): number => Math.max(1, share(total, topP));
      keepUpTo(candidates, threshold(candidates, weightOf, needed));
    }
    if (narrows) keepUpTo(candidates, mostDistance);
    return draw(candidates, scores.length, uniform());
  };
}

/** Counts. */
function one(): number {
  return 1;
}

/** A seen token's score: lower, whatever its sign (Keskar et al. 2019, arXiv:1909.05858, and transformers). */
export function penalised(score: number, { above, below }: ChoiceRule): number {
  if (!Number.isFinite(score)) return score;
  const { penalised: most, tinyScore } = F32_BOUNDS;
  const value = Math.max(-most, Math.min(score, most));
  if (Math.abs(value) < tinyScore) return 0;
  const product = Math.fround(value * (value > 0 ? above : below));
  return Math.abs(product) < tinyScore ? 0 : product;
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

/** The tokens that may still be drawn, in the order of ids. */
interface Candidates {
  count: number;
  readonly ids: Int32Array;
  readonly distances: Uint32Array;
}

const { score: MOST_SCORE, tinyGap: TINY_GAP } = F32_BOUNDS;

/** Those up to a distance. */
function gather(
  candidates: Candidates,
  scores: Float32Array,
  top: number,
  rule: ChoiceRule,
  limit: number,
): void {
  const { ids, distances } = candidates;
  // What is surely too far, by one comparison; where -2¹²⁶ may be near, everything is looked at.
  const surely = top - 1.001 * Math.min(rule.far, (limit + 2) / rule.scale) - 2 * TINY_GAP;
  const cutoff = surely < -MOST_SCORE ? -Infinity : surely;
  let count = 0;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] ?? -Infinity;
    if (score < cutoff) continue;
    const distance = distanceOf(score, top, rule);
    if (distance > limit) continue;
    ids[count] = id;
    distances[count] = distance;
    count += 1;
  }
  candidates.count = count;
}

/** @param top the largest score, bounded */
function distanceOf(score: number, top: number, { scale, far }: ChoiceRule): number {
  const gap = Math.fround(top - bounded(score));
  if (!(gap < far) || score === -Infinity) return NEVER;
  // Below 2²⁶, as the gap is not far.
  return gap < TINY_GAP ? 0 : Math.fround(gap * scale) | 0;
}

/** By a heap of the k largest so far, the least of them first: almost all scores are below it. */
function kthLargest(scores: Float32Array, k: number): number {
  const heap = scores.slice(0, k).sort();
  for (let id = k; id < scores.length; id++) {
    const score = scores[id] ?? -Infinity;
    if (!(score > (heap[0] ?? 0))) continue;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= k) break;
      if (child + 1 < k && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child += 1;
      const least = heap[child] ?? 0;
      if (!(least < score)) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = score;
  }
  return heap[0] ?? -Infinity;
}

function bounded(score: number): number {
  return score > MOST_SCORE ? MOST_SCORE : score < -MOST_SCORE ? -MOST_SCORE : score;
}

/** Drops what is further away. */
function keepUpTo(candidates: Candidates, limit: number): void {
  const { ids, distances, count } = candidates;
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const distance = distances[i] ?? 0;
    if (distance > limit) continue;
    ids[kept] = ids[i] ?? 0;
    distances[kept] = distance;
    kept += 1;
  }
  candidates.count = kept;
}

/** The least distance up to which the values of the candidates add up to what is needed of their total. */
function threshold(
  { count, distances }: Candidates,
  valueOf: (distance: number) => number,
  needed: (total: number) => number,
): number {
  let bins = new Float64Array(HIGH_BINS);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const distance = distances[i] ?? 0;
    const value = valueOf(distance);
    const bin = distance >>> HIGH_SHIFT;
    bins[bin] = (bins[bin] ?? 0) + value;
    total += value;
  }
  let rest = Math.min(needed(total), total);
  const high = find(bins, rest);
  rest -= high.before;
  let found = high.bin;
  for (const shift of LOW_SHIFTS) {
    bins = new Float64Array(LOW_BINS);
    for (let i = 0; i < count; i++) {
      const distance = distances[i] ?? 0;
      if (distance >>> (shift + 8) !== found) continue;
      const bin = (distance >>> shift) & (LOW_BINS - 1);
      bins[bin] = (bins[bin] ?? 0) + valueOf(distance);
    }
    const { bin, before } = find(bins, rest);
    rest -= before;
    found = (found << 8) | bin;
  }
  return found;
}

/** The bin with which the sum first reaches `needed`, and the sum before it. */
function find(
  bins: Float64Array,
  needed: number,
): { readonly bin: number; readonly before: number } {
  let before = 0;
  for (let bin = 0; bin < bins.length; bin++) {
    const value = bins[bin] ?? 0;
    if (before + value >= needed) return { bin, before };
    before += value;
  }
  throw new Error(`a sum of ${before} never reaches ${needed}`);
}

/** ⌊total · part / 2³²⌋, exact for totals below 2⁵². @param part a whole number below 2³² */
function share(total: number, part: number): number {
  const high = Math.floor(total / 2 ** 32);
  const low = total % 2 ** 32;
  const lowPart = low * (part & 0xffff);
  const highPart = low * (part >>> 16);
  return high * part + Math.floor((highPart + Math.floor(lowPart / 2 ** 16)) / 2 ** 16);
}

/** The candidate at the place of `uniform` among their weights, in the order of digits (DRAW_BITS). */
function draw({ count, ids, distances }: Candidates, vocabSize: number, uniform: number): number {
  const bins = new Float64Array(2 ** DRAW_BITS);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const bin = (ids[i] ?? 0) & DIGIT;
    const weight = weightOf(distances[i] ?? NEVER);
    bins[bin] = (bins[bin] ?? 0) + weight;
    total += weight;
  }
  let rest = share(total, uniform) + 1;
  const lowest = find(bins, rest);
  rest -= lowest.before;
  let token = lowest.bin;
  for (let shift = DRAW_BITS; 2 ** shift < vocabSize; shift += DRAW_BITS) {
    bins.fill(0);
    const known = 2 ** shift - 1;
    for (let i = 0; i < count; i++) {
      const id = ids[i] ?? 0;
      if ((id & known) !== token) continue;
      const bin = (id >>> shift) & DIGIT;
      bins[bin] = (bins[bin] ?? 0) + weightOf(distances[i] ?? NEVER);
    }
    const { bin, before } = find(bins, rest);
    rest -= before;
    token += bin * 2 ** shift;
  }
  return token;
}
