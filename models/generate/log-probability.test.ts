import { expect, test } from "vitest";
import { seeded } from "../../kernels/testing/seeded.ts";
import { logProbability, logProbabilities } from "./log-probability.ts";

function exact(logits: Float32Array, id: number): number {
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - (logits[0] ?? 0)), 0);
  return (logits[id] ?? 0) - (logits[0] ?? 0) - Math.log(sum);
}

test.each([0.01, 1, 10])("is the logarithm of softmax, for logits of size %d", (size) => {
  const logits = seeded(7)
    .normal(3000)
    .map((value) => value * size);
  for (const id of [0, 17, 2999])
    expect(logProbability(logits, id)).toBeCloseTo(exact(logits, id), 6);
});

test("holds at the edges: one token, tokens that cannot be, huge logits, NaN", () => {
  expect(logProbability(Float32Array.of(5), 0)).toBe(0);
  expect(logProbability(Float32Array.of(0, -Infinity), 0)).toBe(0);
  expect(logProbability(Float32Array.of(0, -Infinity), 1)).toBe(-Infinity);
  expect(logProbability(Float32Array.of(3e38, 3e38), 1)).toBeCloseTo(-Math.LN2, 8);
  expect(logProbability(Float32Array.of(0, NaN), 0)).toBeNaN();
  expect(() => logProbability(Float32Array.of(1, 2), 2)).toThrow(RangeError);
});

test("of several rows goes row by row", () => {
  const logits = Float32Array.of(0, 1, 2, 5, 5, 5);
  const [first, second] = logProbabilities(logits, Int32Array.of(2, 0));
  expect(first).toBeCloseTo(exact(logits.subarray(0, 3), 2), 7);
  expect(second).toBeCloseTo(-Math.log(3), 7);
});
