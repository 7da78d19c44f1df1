import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { makeDocuments } from "./document-set.ts";
import { contains, exactMatch, tokenF1 } from "./scores.ts";

const options = { seed: 5, lengths: [400, 1600], facts: 6, texts: 4, unanswerable: 4 };
const count = async (text: string): Promise<number> => text.trim().split(/\s+/).length;
const factbook = await readFile(
  new URL("../fixtures/quality/world-factbook.md", import.meta.url),
  "utf8",
);

test("documents are beginnings of each other, with facts at the places and depths that are said", async () => {
  const [short, long] = await makeDocuments(factbook, options, count);
  if (short === undefined || long === undefined) throw new Error("no documents");
  expect(long.text.startsWith(short.text)).toBe(true);
  for (const { text, questions } of [short, long]) {
    for (const { group, answer } of questions) {
      expect(answer === null).toBe(group === "unanswerable");
      if (answer === null) continue;
      const sentence = text.slice(answer.start, answer.end);
      expect(answer.whole).toContain(sentence);
      expect(contains(sentence, answer.value)).toBe(true);
    }
    const depths = questions.flatMap(({ group, answer }) =>
      group === "fact" && answer ? answer.depth : [],
    );
    expect(depths).toHaveLength(options.facts);
    expect(Math.min(...depths)).toBeLessThan(0.4);
    expect(Math.max(...depths)).toBeGreaterThan(0.6);
  }
});

test("one seed makes one set, another another", async () => {
  const once = await makeDocuments(factbook, options, count);
  expect(await makeDocuments(factbook, options, count)).toEqual(once);
  expect(await makeDocuments(factbook, { ...options, seed: 6 }, count)).not.toEqual(once);
});

test("answers are judged by their words", () => {
  expect(exactMatch("the code is 4471", ["4471", "The code is 4471."])).toBe(true);
  expect(contains("It was 1,250 metres.", "1250 metres")).toBe(true);
  expect(contains("It was 12501 metres.", "1250")).toBe(false);
  expect(tokenF1("code 4471", ["4471"])).toBeCloseTo(2 / 3);
});
