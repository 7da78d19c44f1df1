import { expect, test } from "vitest";
import { excerptFor } from "./excerpt.ts";

test("picks the sentence that the question is about", () => {
  const text =
    "The hut opens in May.\n\nThe access code for the archive is 4821. Dogs stay outside.";
  expect(excerptFor(text, "What is the access code for the archive?")).toEqual({
    before: "The hut opens in May. ",
    sentence: "The access code for the archive is 4821.",
    after: " Dogs stay outside.",
    telling: true,
  });
});

test("begins at the beginning where nothing is shared, and cuts long text on both sides", () => {
  expect(excerptFor("Nothing here. At all.", "Ferry?")).toEqual({
    before: "",
    sentence: "Nothing here. At all.",
    after: "",
    telling: false,
  });
  const long = `${"Rain falls. ".repeat(40)}The ferry leaves at nine. ${"Snow falls. ".repeat(40)}`;
  const { before, sentence, after } = excerptFor(long, "When does the ferry leave?");
  expect(sentence).toBe("The ferry leaves at nine.");
  expect(before.startsWith("… ")).toBe(true);
  expect(after.endsWith(" …")).toBe(true);
  expect(before.length + after.length).toBeLessThan(240);
});
