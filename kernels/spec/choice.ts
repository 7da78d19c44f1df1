/**
 * How the next token is chosen from scores, in operations that every device computes to the same bit: whole numbers, and
 * sums, differences and products of two f32. So sums do not depend on their order, and the host (models/generate) and a GPU
 * choose the same token (docs/decisions/0030).
 *
 * A score's _distance_ is how many bits its probability is below the likeliest's, in 2⁻²⁰ bits:
 * ⌊(largest - score) · 2²⁰ / (T · ln 2)⌋. Its _weight_ is 2³¹ · 2^(-distance · 2⁻²⁰), a whole number; from 31 bits on 0.
 */

/** Counted up whenever a seed comes to give other tokens; records of answers name it. 1 chose in f64. */
export const CHOICE_VERSION = 2;

/** Fractional bits of a distance. */
export const DISTANCE_BITS = 20;
/** The largest distance that has a weight. */
export const MOST_DISTANCE = 31 * 2 ** DISTANCE_BITS - 1;
/** Of a score that is never drawn; larger than any distance. */
export const NEVER = 0xffff_ffff;

/**
 * Tokens are drawn in the order of their ids' digits of so many bits, the lowest first: lanes that each take every
 * so-manieth token then find the drawn one together.
 */
export const DRAW_BITS = 9;

/**
 * Bounds within which f32 arithmetic neither overflows nor meets numbers that some devices take for 0. Magnitudes below
 * `tinyScore` and `tinyGap` count as 0, above `score` as that, above `penalised` too where a factor follows.
 */
export const F32_BOUNDS = {
  score: 2 ** 126,
  penalised: 2 ** 63,
  tinyScore: 2 ** -120,
  tinyGap: 2 ** -100,
} as const;

/** The same for all choices of a sequence. Fractions are f32 values, the others u32. */
export interface ChoiceRule {
  /** Whether a token is drawn; else it is the first of the largest scores. */
  readonly draws: boolean;
  /** Distances in a difference of 1 between scores; at least 0. */
  readonly scale: number;
  /** A difference of scores from which on there is no weight. */
  readonly far: number;
  /** As many of the largest scores are kept, and equal ones at the edge; 0: all. */
  readonly topK: number;
  /** The share, in 2⁻³², of what `topK` has left that the likeliest kept reach, with equal ones at the edge; 0: all. */
  readonly topP: number;
  /** The largest distance that is kept. */
  readonly mostDistance: number;
  /** Scores of the last so many ids are multiplied before all else; 0: none are. */
  readonly window: number;
  /** The factor of a score above 0. */
  readonly above: number;
  /** The factor of any other score. */
  readonly below: number;
}

/** What a device needs to choose the next tokens of a sequence. */
export interface SequenceChoice {
  readonly rule: ChoiceRule;
  /** The ids of the rule's window before the first choice, oldest first. */
  readonly recent: readonly number[];
  /** The next of the uniform 32-bit numbers that tokens are drawn with, one each; some may go unused. */
  readonly nextUniform: () => number;
}

/** Pieces of one bit of distance; between their ends weights are interpolated, off by 6 · 10⁻⁸ of them at most. */
const PIECES = 1024;

/** (1025) u32: 2³¹ · 2^(-i / 1024). By square roots and products alone, which all hosts round alike. */
export const WEIGHTS: Uint32Array<ArrayBuffer> = weights();

function weights(): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(PIECES + 1);
  table.fill(2 ** 31);
  const factors: number[] = [];
  for (let bit = PIECES, factor = 0.5; bit >= 1; bit /= 2, factor = Math.sqrt(factor))
    factors.push(factor);
  for (let i = 0; i <= PIECES; i++) {
    let power = 1;
    for (const [place, factor] of factors.entries())
      if ((i & (PIECES >> place)) !== 0) power *= factor;
    table[i] = Math.round(2 ** 31 * power);
  }
  return table;
}

/** The weight of a distance: never more than that of a smaller one. */
export function weightOf(distance: number): number {
  if (distance > MOST_DISTANCE) return 0;
  const piece = (distance >>> 10) & (PIECES - 1);
  const from = WEIGHTS[piece] ?? 0;
  const fall = ((from - (WEIGHTS[piece + 1] ?? 0)) * (distance & 1023)) >>> 10;
  return (from - fall) >>> (distance >>> DISTANCE_BITS);
}
