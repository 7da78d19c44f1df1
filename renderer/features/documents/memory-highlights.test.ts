import { expect, test } from "vitest";
import { levelOf, placeIn, spanAt } from "./memory-highlights.ts";

test("shares have steps from nothing to all", () => {
  expect([0, 0.004, 0.005, 0.02, 0.1, 0.5, 0.6, 1].map(levelOf)).toEqual([0, 0, 1, 2, 3, 4, 5, 5]);
});

test("an offset is found among pieces of text, at their seams too", () => {
  const pieces = [{ length: 3 }, { length: 0 }, { length: 4 }];
  expect(placeIn(pieces, 0)).toEqual({ node: 0, offset: 0 });
  expect(placeIn(pieces, 3)).toEqual({ node: 0, offset: 3 });
  expect(placeIn(pieces, 4)).toEqual({ node: 2, offset: 1 });
  expect(placeIn(pieces, 7)).toEqual({ node: 2, offset: 4 });
  expect(placeIn(pieces, 8)).toBeNull();
  expect(placeIn([], 0)).toBeNull();
});

test("a word is found by an offset in it", () => {
  const spans = [
    { start: 0, end: 3, share: 1 },
    { start: 3, end: 9, share: 0.5 },
  ];
  expect(spanAt(spans, 3)?.share).toBe(0.5);
  expect(spanAt(spans, 9)).toBeNull();
});
