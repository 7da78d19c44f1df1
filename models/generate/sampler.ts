/**
 * Chooses the next token from logits. The chain, in the order of transformers' processors: repetition penalty,
 * temperature, top-k, top-p, min-p; then one draw.
 */
import {
  DISTANCE_BITS,
  F32_BOUNDS,
  MOST_DISTANCE,
  weightOf,
  type ChoiceRule,
  type SequenceChoice,
} from "../../kernels/spec/choice.ts";
import { createChooser, penalised } from "./choose.ts";
import { nextUint32, seedState } from "./random.ts";
import { SamplerError } from "./sampler-error.ts";

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

export interface Sampler {
  /**
   * The next token for (vocabSize) logits, which stay as they are; remembered for the repetition penalty.
   * @throws SamplerError `logits` for NaN, +∞ or nothing but -∞
   */
  next(logits: Float32Array): number;
  /** How it would choose from here on, for a device; it stays where it is. */
  ahead(): SequenceChoice;
  /** Remembers tokens that a device chose in its place. */
  took(tokens: Iterable<number>): void;
}

/**
 * @param recent the ids so far, oldest first, for the repetition penalty; copied
 * @throws SamplerError `options`
 */
export function createSampler(options: SamplerOptions, recent: readonly number[]): Sampler {
  checkOptions(options);
  const rule = ruleOf(options);
  const choose = createChooser();
  const seen = rule.window === 0 ? [] : recent.slice(-rule.window);
  let random = seedState(options.seed);
  let scores = new Float32Array();

  function nextUniform(): number {
    const [value, next] = nextUint32(random);
    random = next;
    return value;
  }

  function remember(token: number): void {
    if (rule.window === 0) return;
    seen.push(token);
    if (seen.length > rule.window) seen.shift();
  }

  /** A copy with the penalty; the logits themselves where there is none. */
  function scored(logits: Float32Array): Float32Array {
    if (seen.length === 0) return logits;
    if (scores.length !== logits.length) scores = new Float32Array(logits.length);
    scores.set(logits);
    for (const id of seen) {
      const logit = logits[id];
      if (logit !== undefined) scores[id] = penalised(logit, rule);
    }
    return scores;
  }

  return {
    next(logits) {
      const token = choose(scored(logits), rule, nextUniform);
      remember(token);
      return token;
    },
    ahead() {
      let state = random;
      return {
        rule,
        recent: [...seen],
        nextUniform: () => {
          const [value, next] = nextUint32(state);
          state = next;
          return value;
        },
      };
    },
    took(tokens) {
      for (const token of tokens) {
        if (rule.draws) nextUniform();
        remember(token);
      }
    },
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

/** Whether the next token is always the first of the likeliest. */
export function isGreedy({
  temperature,
  repetitionPenalty,
  repetitionWindow,
}: SamplerOptions): boolean {
  return temperature === 0 && (repetitionPenalty === 1 || repetitionWindow === 0);
}

/** The options in the numbers that are computed with. Extreme ones are moved to where f32 still holds. */
function ruleOf({
  temperature,
  topK,
  topP,
  minP,
  repetitionPenalty,
  repetitionWindow,
}: SamplerOptions): ChoiceRule {
  // At a temperature of 0 the scale is infinite, and not used.
  const scale = Math.fround(Math.min(2 ** DISTANCE_BITS / (temperature * Math.LN2), 2 ** 120));
  const isFlat = scale < F32_BOUNDS.tinyScore;
  const factor = (value: number): number =>
    Math.fround(Math.max(2 ** -60, Math.min(value, 2 ** 60)));
  return {
    draws: temperature > 0,
    scale: isFlat ? 0 : scale,
    far: isFlat ? 2 ** 127 : Math.fround(Math.min(2 ** 26 / scale, 2 ** 127)),
    topK: Math.min(topK, 2 ** 32 - 1),
    topP: topP < 1 ? Math.max(1, Math.min(Math.round(topP * 2 ** 32), 2 ** 32 - 1)) : 0,
    mostDistance: mostDistance(minP),
    window: repetitionPenalty === 1 ? 0 : repetitionWindow,
    above: factor(1 / repetitionPenalty),
    below: factor(repetitionPenalty),
  };
}

/** The largest distance of a token that is at least `minP` times as likely as the likeliest. */
function mostDistance(minP: number): number {
  const least = Math.ceil(minP * 2 ** 31);
  let kept = 0;
  let dropped = MOST_DISTANCE + 1;
  while (dropped - kept > 1) {
    const middle = Math.floor((kept + dropped) / 2);
    if (weightOf(middle) >= least) kept = middle;
    else dropped = middle;
  }
  return kept;
}
