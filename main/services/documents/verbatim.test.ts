import { expect, test } from "vitest";
import { repeatedPart } from "./verbatim.ts";

const SENTENCE = "Gwen Vickers works as a piano tuner.";
const LONG =
  "Since the mid-1980s, the island has become a freight transshipment point, a financial center, and a tourist destination.";

test("an answer that breaks off within a clause goes on to the sentence's end", () => {
  expect(repeatedPart("Gwen Vickers works as a piano.", SENTENCE)).toBe(SENTENCE);
  expect(repeatedPart("Since the mid-1980s, the island has become a freight", LONG)).toBe(LONG);
});

test("changed and dropped words of a long repetition are put right", () => {
  expect(
    repeatedPart("the island has become a freight transition, a financial center.", LONG),
  ).toBe("the island has become a freight transshipment point, a financial center.");
});

test("what is exact, short, shortened or something else stays", () => {
  for (const answer of [
    SENTENCE,
    "a piano tuner",
    "Gwen works as a piano tuner.",
    "She is employed as a tuner of pianos by the town, it seems.",
    "Since the mid-1980s.",
    "",
  ])
    expect(repeatedPart(answer, SENTENCE)).toBeNull();
  expect(repeatedPart("the island has become a freight transshipment point", LONG)).toBeNull();
});
