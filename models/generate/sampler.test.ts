import { describe, expect, it } from "vitest";
import { DISTANCE_BITS, MOST_DISTANCE, weightOf } from "../../kernels/spec/choice.ts";
import { seeded } from "../../kernels/testing/seeded.ts";
import { nextUint32, nextUnit, seedState, splitMix64, type RandomState } from "./random.ts";
import { SamplerError } from "./sampler-error.ts";
import { createSampler, type SamplerOptions } from "./sampler.ts";

const off: SamplerOptions = {
  temperature: 1,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  repetitionWindow: 0,
  seed: 1,
};
const greedy: SamplerOptions = { ...off, temperature: 0 };

function draws(logits: readonly number[], options: Partial<SamplerOptions>, n = 2000): number[] {
  const sampler = createSampler({ ...off, ...options }, []);
  return Array.from({ length: n }, () => sampler.next(Float32Array.from(logits)));
}

function shares(tokens: readonly number[], vocabSize: number): number[] {
  return Array.from(
    { length: vocabSize },
    (_, id) => tokens.filter((token) => token === id).length / tokens.length,
  );
}

/**
 * What transformers' processors keep in their order (temperature, top-k, top-p, min-p), and how likely each token then is: in
 * f64, by sorting. Null where a token lies so near an edge that rounding decides.
 */
function exactShares(
  logits: readonly number[],
  { temperature, topK, topP, minP }: SamplerOptions,
): Map<number, number> | null {
  const largest = Math.max(...logits);
  const sorted = logits
    .map((logit, id) => ({ id, weight: Math.exp((logit - largest) / temperature) }))
    .toSorted((a, b) => b.weight - a.weight)
    .slice(0, topK === 0 ? logits.length : topK);
  const total = sorted.reduce((sum, { weight }) => sum + weight, 0);
  const kept = new Map<number, number>();
  let before = 0;
  for (const { id, weight } of sorted) {
    if (Math.abs(before - topP * total) < 1e-5 || Math.abs(weight - minP) < 1e-5) return null;
    if ((topP === 1 || kept.size === 0 || before < topP * total) && weight >= minP)
      kept.set(id, weight);
    before += weight;
  }
  const rest = [...kept.values()].reduce((sum, weight) => sum + weight, 0);
  return new Map([...kept].map(([id, weight]) => [id, weight / rest]));
}

/** Logits of the probabilities 0.4, 0.3, 0.2, 0.1. */
const four = [0.4, 0.3, 0.2, 0.1].map(Math.log);

describe("random", () => {
  it("gives the outputs of the reference xoshiro128** from the state 1, 2, 3, 4", () => {
    // Test vector of the Rust crate rand_xoshiro, made with the authors' C code.
    const expected = [
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597,
      4258142804,
    ];
    let state: RandomState = [1, 2, 3, 4];
    const values = expected.map(() => {
      const [value, next] = nextUint32(state);
      state = next;
      return value;
    });
    expect(values).toEqual(expected);
  });

  it("seeds with the outputs of the reference SplitMix64", () => {
    expect(splitMix64(1234567n)).toEqual([6457827717110365317n, 3203168211198807973n]);
  });

  it("gives numbers from 0 to below 1 with mean one half", () => {
    let state = seedState(7);
    let sum = 0;
    for (let i = 0; i < 10_000; i++) {
      const [unit, next] = nextUnit(state);
      expect(unit >= 0 && unit < 1).toBe(true);
      sum += unit;
      state = next;
    }
    expect(Math.abs(sum / 10_000 - 0.5)).toBeLessThan(0.01);
  });
});

describe("createSampler", () => {
  it("takes the first of the largest at temperature 0", () => {
    expect(createSampler(greedy, []).next(Float32Array.of(1, 3, 3, -Infinity))).toBe(1);
  });

  it("draws by the probabilities of the softmax", () => {
    for (const [id, share] of shares(draws(four, {}, 20_000), 4).entries())
      expect(Math.abs(share - Math.exp(four[id] ?? 0))).toBeLessThan(0.015);
  });

  it("gives the same tokens for the same seed and others for another", () => {
    const logits = Array.from({ length: 100 }, (_, i) => Math.sin(i));
    expect(draws(logits, { seed: 5 }, 50)).toEqual(draws(logits, { seed: 5 }, 50));
    expect(draws(logits, { seed: 5 }, 50)).not.toEqual(draws(logits, { seed: 6 }, 50));
  });

  it("sharpens and flattens with temperature, and survives an extreme one", () => {
    const [cold = 0, hot = 0] = [0.5, 2].map(
      (temperature) => shares(draws(four, { temperature }, 20_000), 4)[0],
    );
    // Squares of 4 : 3 : 2 : 1, and roots.
    expect(Math.abs(cold - 16 / 30)).toBeLessThan(0.015);
    expect(Math.abs(hot - 2 / (2 + 1 + Math.SQRT2 + Math.sqrt(3)))).toBeLessThan(0.015);
    expect(new Set(draws([1, 1.001, 0], { temperature: 1e-12 }, 100))).toEqual(new Set([1]));
  });

  it("keeps the k largest, and equal ones at the edge", () => {
    expect(new Set(draws(four, { topK: 2 }))).toEqual(new Set([0, 1]));
    expect(new Set(draws([1, 0, 0, -1], { topK: 2 }))).toEqual(new Set([0, 1, 2]));
    expect(new Set(draws(four, { topK: 99 }))).toEqual(new Set([0, 1, 2, 3]));
  });

  it("keeps exactly the k largest of many, wherever they are", () => {
    const logits = Array.from({ length: 997 }, (_, i) => Math.fround(Math.sin(i * 12.9898) * 4));
    for (const topK of [1, 2, 7, 100, 996]) {
      const best = logits
        .map((score, id) => ({ score, id }))
        .toSorted((a, b) => b.score - a.score)
        .slice(0, topK);
      const allowed = new Set(best.map(({ id }) => id));
      const drawn = new Set(draws(logits, { topK, temperature: 5 }, 3000));
      expect([...drawn].filter((id) => !allowed.has(id))).toEqual([]);
      if (topK <= 7) expect(drawn.size).toBe(topK);
    }
  });

  it("keeps the fewest tokens that reach top-p, and one at 0", () => {
    expect(new Set(draws(four, { topP: 0.65 }))).toEqual(new Set([0, 1]));
    expect(new Set(draws(four, { topP: 0.75 }))).toEqual(new Set([0, 1, 2]));
    expect(new Set(draws(four, { topP: 0 }))).toEqual(new Set([0]));
    expect(new Set(draws(four.toReversed(), { topP: 0.65 }))).toEqual(new Set([3, 2]));
  });

  it("measures top-p on what top-k has left", () => {
    // Of 4 : 3 the first has 0.57.
    expect(new Set(draws(four, { topK: 2, topP: 0.55 }))).toEqual(new Set([0]));
  });

  it("drops what is less likely than min-p times the likeliest", () => {
    expect(new Set(draws(four, { minP: 0.6 }))).toEqual(new Set([0, 1]));
    expect(new Set(draws(four, { minP: 1 }))).toEqual(new Set([0]));
  });

  it("divides positive and multiplies negative scores of seen tokens within the window", () => {
    const logits = Float32Array.of(3, 2, -1, -1.5);
    expect(
      createSampler({ ...greedy, repetitionPenalty: 2, repetitionWindow: 4 }, [0]).next(logits),
    ).toBe(1);
    expect(
      createSampler({ ...greedy, repetitionPenalty: 2, repetitionWindow: 1 }, [0, 2]).next(logits),
    ).toBe(0);
    expect(
      createSampler({ ...greedy, repetitionPenalty: 2, repetitionWindow: 4 }, [2, 99]).next(
        Float32Array.of(-3, -4, -1, -1.5),
      ),
    ).toBe(3);
    expect([...logits]).toEqual([3, 2, -1, -1.5]);
  });

  it("counts its own tokens as seen", () => {
    const sampler = createSampler({ ...greedy, repetitionPenalty: 2, repetitionWindow: 1 }, []);
    expect(Array.from({ length: 4 }, () => sampler.next(Float32Array.of(3, 2)))).toEqual([
      0, 1, 0, 1,
    ]);
  });

  it("keeps what transformers keeps, and draws it as often as it should", () => {
    const random = seeded(3);
    const among = (values: readonly number[]): number =>
      values[Math.floor(random.next() * values.length)] ?? 0;
    let compared = 0;
    for (let trial = 0; trial < 60; trial++) {
      const logits = [...random.normal(30, among([0.5, 2, 5]))];
      const options = {
        ...off,
        temperature: among([0.3, 0.7, 1, 2]),
        topK: among([0, 1, 5, 20]),
        topP: among([1, 0.3, 0.9, 0.95]),
        minP: among([0, 0.02, 0.3]),
        seed: trial,
      };
      const exact = exactShares(logits, options);
      if (exact === null) continue;
      const drawn = shares(draws(logits, options, 4000), 30);
      // Four standard deviations of the least certain share, which 60 trials of 30 tokens may just reach.
      for (const [id, share] of drawn.entries())
        expect(Math.abs(share - (exact.get(id) ?? 0))).toBeLessThan(exact.has(id) ? 0.035 : 1e-9);
      compared += 1;
    }
    expect(compared).toBeGreaterThan(40);
  });

  it("goes on behind tokens that were chosen ahead as if it had chosen them", () => {
    const options = {
      ...off,
      temperature: 2,
      repetitionPenalty: 1.5,
      repetitionWindow: 3,
      seed: 9,
    };
    const logits = Float32Array.from({ length: 40 }, (_, i) => Math.sin(i * 7));
    const [own, told] = [createSampler(options, [4, 5]), createSampler(options, [4, 5])];
    const before = told.ahead();
    const tokens = Array.from({ length: 9 }, () => own.next(logits));
    // Looking ahead moves nothing.
    for (let i = 0; i < 5; i++) before.nextUniform();
    told.took(tokens);
    expect(told.ahead().recent).toEqual(tokens.slice(-3));
    expect(Array.from({ length: 9 }, () => told.next(logits))).toEqual(
      Array.from({ length: 9 }, () => own.next(logits)),
    );
  });

  it("weighs distances as powers of two, none more than a smaller one", () => {
    let before = weightOf(0);
    expect(before).toBe(2 ** 31);
    for (let distance = 0; distance <= MOST_DISTANCE; distance += 997) {
      const weight = weightOf(distance);
      const exact = 2 ** (31 - distance / 2 ** DISTANCE_BITS);
      expect(weight <= before && Math.abs(weight - exact) <= 1 + 1e-7 * exact).toBe(true);
      before = weight;
    }
    expect(weightOf(MOST_DISTANCE)).toBe(1);
    expect(weightOf(MOST_DISTANCE + 1)).toBe(0);
  });

  it("never draws a token of probability 0", () => {
    expect(new Set(draws([-Infinity, 0, -Infinity], {}))).toEqual(new Set([1]));
  });

  it.each<Partial<SamplerOptions>>([
    { temperature: NaN },
    { temperature: -1 },
    { temperature: Infinity },
    { topK: 1.5 },
    { topK: -1 },
    { topP: 1.1 },
    { topP: NaN },
    { minP: -0.1 },
    { repetitionPenalty: 0 },
    { repetitionWindow: NaN },
    { seed: 0.5 },
    { seed: -1 },
  ])("refuses %o", (options) => {
    expect(() => createSampler({ ...off, ...options }, [])).toThrow(SamplerError);
  });

  it.each([[[NaN, 1]], [[1, Infinity]], [[-Infinity, -Infinity]], [[]]])(
    "refuses the logits %j",
    (logits) => {
      expect(() => createSampler(off, []).next(Float32Array.from(logits))).toThrow(SamplerError);
      expect(() => createSampler(greedy, []).next(Float32Array.from(logits))).toThrow(SamplerError);
    },
  );
});
