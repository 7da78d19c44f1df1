import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createTokenizer } from "../tokenizer/create-tokenizer.ts";
import { findMarks } from "./token-marks.ts";

const folder = fileURLToPath(new URL("../../../e2e/fixtures/tokenizers", import.meta.url));
const KINDS = [
  "llama3_bytelevel_bpe",
  "llama_bpe_bytefallback",
  "neox_bytelevel_bpe",
  "unigram_metaspace",
] as const;

test.for(KINDS)(
  "%s: the ids before a mark decode to exactly the text before it, whatever stands there",
  async (kind) => {
    const json = readFileSync(join(folder, kind, "tokenizer.json"), "utf8");
    const tokenizer = createTokenizer(json, null);
    const decode = (ids: Int32Array) => tokenizer.decode(ids, { skipSpecial: true });
    const word = fc.oneof(
      fc.constantFrom(
        "the",
        "Brücke",
        "雪山",
        "letters.",
        "🏔️",
        "नमस्ते",
        "a",
        "1,840",
        "\n\n",
        "\n",
        "  ",
      ),
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 6 }),
    );
    let found = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 300 }), async (words) => {
        const text = words.join(" ");
        const ids = await tokenizer.encodeText(text, { first: true });
        const offsets = words.map((_, index) => words.slice(0, index + 1).join(" ").length);
        const marks = await findMarks(decode, ids, text, offsets);
        for (const { tokens, offset } of marks) {
          found++;
          expect(offsets.some((wanted) => wanted >= offset)).toBe(true);
          const before = await decode(ids.subarray(0, tokens));
          expect(text.slice(0, offset).trimStart()).toBe(before.trimStart());
        }
      }),
      { numRuns: 100 },
    );
    // Unigram folds characters into others, and then has none.
    if (kind !== "unigram_metaspace") expect(found).toBeGreaterThan(50);
  },
);

test("white space that a tokenizer folds behind the last word holds no mark", async () => {
  const ids = Int32Array.from("one two \n", (letter) => letter.charCodeAt(0));
  const decode = async (part: Int32Array) => String.fromCharCode(...part);
  expect(await findMarks(decode, ids, "one two   \n", [3, 8, 9, 11])).toEqual([
    { tokens: 3, offset: 3 },
    { tokens: 8, offset: 8 },
  ]);
});

test("a tokenizer that does not give its text back has no marks", async () => {
  const lower = async (ids: Int32Array) => String.fromCharCode(...ids).toLowerCase();
  const ids = Int32Array.from("Some Words", (letter) => letter.charCodeAt(0));
  expect(await findMarks(lower, ids, "Some Words", [4])).toEqual([]);
  const same = async (part: Int32Array) => String.fromCharCode(...part);
  expect(await findMarks(same, ids, "Some Words", [4])).toEqual([{ tokens: 4, offset: 4 }]);
});
