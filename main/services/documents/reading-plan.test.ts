import fc from "fast-check";
import { expect, test } from "vitest";
import { chunksOfPassages, cutsOf, isKept } from "./reading-plan.ts";

/** Marks of passages of these lengths, in tokens; four units a token. */
function marksOf(lengths: readonly number[]): { tokens: number; offset: number }[] {
  let tokens = 0;
  return lengths.map((length) => {
    tokens += length;
    return { tokens, offset: 4 * tokens };
  });
}

const lengths = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 200 });

test("cuts ascend to the end, none too far from the next, and pages close pieces early", () => {
  fc.assert(
    fc.property(lengths, fc.nat({ max: 5 }), (passages, every) => {
      const marks = marksOf(passages);
      const total = (marks.at(-1)?.tokens ?? 0) + 3;
      const pages = marks
        .filter((_, index) => every > 0 && index % every === 0)
        .map(({ offset }, index) => ({ page: index + 1, start: offset + 2 }));
      const cuts = cutsOf(total, marks, pages);
      expect(cuts.at(-1)).toBe(total);
      expect(cuts.every((cut, index) => cut > (cuts[index - 1] ?? 0))).toBe(true);
      expect(cuts.every((cut, index) => cut - (cuts[index - 1] ?? 0) <= 4096)).toBe(true);
    }),
  );
  expect(
    cutsOf(1003, marksOf([300, 300, 400]), [
      { page: 1, start: 0 },
      { page: 2, start: 1202 },
    ]),
  ).toEqual([300, 1003]);
});

test("a longer version of a text has the same cuts as far as both go", () => {
  fc.assert(
    fc.property(lengths, lengths, (first, more) => {
      const short = cutsOf(marksOf(first).at(-1)?.tokens ?? 0, marksOf(first), null);
      const marks = marksOf([...first, ...more]);
      const long = cutsOf(marks.at(-1)?.tokens ?? 0, marks, null);
      const same = short.slice(0, -1);
      expect(long.slice(0, same.length)).toEqual(same);
    }),
  );
});

test("what is kept of many cuts grows with their logarithm, is near to any place, and stays kept as more are added", () => {
  for (const count of [1, 24, 25, 100, 1000, 10_000]) {
    const kept = Array.from({ length: count }, (_, index) => index).filter((index) =>
      isKept(index, count),
    );
    expect(kept.length).toBeLessThan(24 + 4 * Math.log2(count));
    expect(kept.at(-1)).toBe(count - 1);
    for (const [at, index] of kept.entries()) {
      const gap = (kept[at + 1] ?? count) - index;
      expect(gap).toBeLessThanOrEqual(Math.max(1, (count - index) / 2));
    }
  }
  for (let count = 25; count < 400; count++)
    for (let index = 0; index < count; index++)
      if (isKept(index, count + 1)) expect(isKept(index, count)).toBe(true);
});

test("chunks are whole passages, all of them, once, in order, of about 1,500 tokens", () => {
  fc.assert(
    fc.property(lengths, (passages) => {
      const marks = marksOf(passages);
      const places = marks.map(({ offset }, index) => ({
        page: Math.floor(index / 3),
        start: marks[index - 1]?.offset ?? 0,
        end: offset,
      }));
      const chunks = chunksOfPassages(places, marks);
      expect(chunks[0]?.start).toBe(0);
      expect(chunks.at(-1)?.end).toBe(places.at(-1)?.end);
      for (const [index, { start, end }] of chunks.entries()) {
        if (index > 0) expect(start).toBe(chunks[index - 1]?.end);
        expect((end - start) / 4).toBeLessThanOrEqual(1600 + 700);
      }
    }),
  );
});
