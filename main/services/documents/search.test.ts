import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DocumentReach } from "../../store/records.ts";
import { openStore, type Store } from "../../store/store.ts";
import { cutPassages } from "./passages.ts";
import { comfortOf, findPassages, matchExpression, rank } from "./search.ts";
import { sentencesIn } from "./sentences.ts";
import { isSupported, supportOf } from "./support.ts";
import { namesOf, termsOf } from "./terms.ts";
import { judgeAnswer, refuseBefore } from "./verdict.ts";

const SMALL = comfortOf(25_000_000);
const LARGE = comfortOf(1_000_000_000);
const ALL: readonly DocumentReach[] = [{ documentId: "d", until: null }];

let folder: string;
let store: Store;
let text = "";
const starts: { page: number; start: number }[] = [];
const length = (words: string): number => Math.ceil(words.length / 4);
const count = async (words: string): Promise<number> => length(words);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-search-"));
  store = await openStore({ file: join(folder, "tarn.sqlite"), maxPages: null });
  const pages = Array.from(
    { length: 30 },
    (_, index) =>
      `Page ${index + 1} tells of ordinary things and the weather in the valley. ${"Rain fell on the roofs. ".repeat(20)}`,
  );
  pages[4] = `Oskar Lind came to the valley in spring. The old cart carried 14 crates of apples. ${"Nobody asked why. ".repeat(20)}`;
  pages[9] = `Mia Brandt came to the valley in autumn. The old cart carried 31 crates of apples. ${"Nobody asked why. ".repeat(20)}`;
  pages[12] = `It was Ida Berg, keeper of the bridge for 18 years, who saw the flood first. ${"Nobody asked why. ".repeat(20)}`;
  pages[13] = `Jon Vale was born in 1874 behind the mill. ${"Nobody asked why. ".repeat(20)}`;
  pages[16] = `The access code for the archive is 4821. ${"Nobody wrote it down. ".repeat(20)}`;
  pages[24] = `The access code for the archive is 9377 now. ${"It was changed at night. ".repeat(20)}`;
  for (const [index, page] of pages.entries()) {
    starts.push({ page: index + 1, start: text.length });
    text += `${page}\n\n`;
  }
  await store.run("addDocument", {
    document: {
      id: "d",
      name: "book.pdf",
      mediaType: "application/pdf",
      bytes: 1,
      sha256: "x",
      characters: text.length,
      pages: starts,
      pageUnit: "page",
      notice: null,
      createdAt: 1,
    },
    text,
    content: new Uint8Array([1]),
    passages: cutPassages(text, starts),
  });
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

const find = (question: string, comfort = SMALL, orBeginning = true, reach = ALL) =>
  findPassages(store, reach, question, count, { comfort, orBeginning });

describe("search", () => {
  test("a large model reads whole passages, in document order, within the budget", async () => {
    const { passages } = await find("What is the access code for the archive?", LARGE);
    expect(passages.map(({ page }) => page)).toEqual(expect.arrayContaining([17, 25]));
    expect(passages.map(({ start }) => start)).toEqual(
      passages.map(({ start }) => start).toSorted((a, b) => a - b),
    );
    expect(passages.reduce((sum, one) => sum + length(one.text), 0)).toBeLessThanOrEqual(
      LARGE.tokens,
    );
  });

  test("a small model reads the sentences that fit best, with offsets exact in the document", async () => {
    const { passages } = await find("What is the access code for the archive?");
    expect(passages.map((one) => one.text)).toEqual([
      "The access code for the archive is 4821.",
      "The access code for the archive is 9377 now.",
    ]);
    for (const { start, end, text: said } of passages) expect(text.slice(start, end)).toBe(said);
  });

  test("a sentence is read with the one that names what it is about", async () => {
    const { passages, best } = await find("How many crates of apples did Mia Brandt bring?");
    expect(best?.missing).toEqual([]);
    expect(passages.map((one) => one.text)).toEqual([
      "Mia Brandt came to the valley in autumn. The old cart carried 31 crates of apples.",
    ]);
  });

  test("as of page 20 nothing of a later page is found or counted, at any comfort", async () => {
    const reach = [{ documentId: "d", until: starts[20]?.start ?? 0 }];
    for (const comfort of [SMALL, LARGE]) {
      const { passages } = await find(
        "What is the access code for the archive?",
        comfort,
        true,
        reach,
      );
      expect(passages.length).toBeGreaterThan(0);
      for (const { end, page } of passages) {
        expect(end).toBeLessThanOrEqual(reach[0]?.until ?? 0);
        expect(page).toBeLessThanOrEqual(20);
      }
    }
    for (const { sentence } of await rank(store, reach, "access code changed at night"))
      expect(sentence.end).toBeLessThanOrEqual(reach[0]?.until ?? 0);
    const before = [{ documentId: "d", until: starts[16]?.start ?? 0 }];
    const asked = "What is the access code for the archive?";
    const finding = await find(asked, SMALL, true, before);
    expect(refuseBefore(asked, finding, SMALL)).not.toBeNull();
  });

  test("operators, quotes and brackets of a question are only words", async () => {
    for (const question of [
      '"',
      "NEAR(archive, 5) AND NOT code*",
      "text:archive -code ^a",
      "((",
      "') OR 1=1 --",
    ])
      await expect(find(question)).resolves.toBeDefined();
    expect(matchExpression('Who has "the" code?')).toBe('"code"');
  });

  test("a question about the document itself gets the beginning, thanks get nothing", async () => {
    expect((await find("What is this document about?")).passages[0]?.page).toBe(1);
    expect((await find("Thank you.", SMALL, false)).passages).toEqual([]);
  });
});

describe("what there is no answer to", () => {
  test("names that stand nowhere together are said to be missing", async () => {
    for (const [question, said] of [
      ["What did Zora Lind carry?", "Zora Lind"],
      ["How many apples did Mia Lind bring?", "Mia Lind"],
      ["What happened in 1871?", "1871"],
    ] as const) {
      expect(refuseBefore(question, await find(question), SMALL)).toBe(
        `The document does not mention ${said}.`,
      );
    }
  });

  test("words that stand nowhere are refused, but not to a large model, nor in a script without spaces", async () => {
    const asked = "How deep do whales dive?";
    const finding = await find(asked);
    expect(refuseBefore(asked, finding, SMALL)).toBe("The document does not say.");
    expect(refuseBefore(asked, finding, LARGE)).toBeNull();
    expect(refuseBefore("密码是什么？", await find("密码是什么？"), SMALL)).toBeNull();
  });
});

describe("an answer", () => {
  const question = "What is the access code for the archive?";

  test("that stands in what was read is cited, with the sentence's place", async () => {
    const verdict = judgeAnswer("The code is 9377.", question, await find(question), SMALL);
    expect(verdict).toMatchObject({ origin: "model", cited: { page: 25 } });
    if (verdict.origin !== "model" || verdict.cited === null) throw new Error("nothing cited");
    expect(text.slice(verdict.cited.start, verdict.cited.end)).toBe(
      "The access code for the archive is 9377 now.",
    );
  });

  test("with a number that is nowhere, or that only repeats the question, is replaced by the sentence", async () => {
    const finding = await find(question);
    for (const said of ["The code is 1234.", "The access code for the archive.", "Yes."])
      expect(judgeAnswer(said, question, finding, SMALL)).toMatchObject({
        origin: "quote",
        text: "The access code for the archive is 4821.",
      });
    expect(judgeAnswer("The code is 1234.", question, finding, LARGE)).toEqual({
      origin: "model",
      cited: null,
    });
  });

  test("about a year is not replaced by a sentence that has the name and no year", async () => {
    const verdictOn = async (asked: string) =>
      judgeAnswer("In 1888.", asked, await find(asked), SMALL);
    expect(await verdictOn("In which year was Ida Berg born?")).toMatchObject({
      origin: "refusal",
    });
    expect(await verdictOn("In which year was Jon Vale born?")).toMatchObject({
      origin: "quote",
      text: "Jon Vale was born in 1874 behind the mill.",
    });
  });

  test("that something else is not there is no answer: the program says in its own words what was asked for", async () => {
    const cellar = "What is the access code for the cellar?";
    const verdict = async (asked: string, said: string, comfort = SMALL) =>
      judgeAnswer(said, asked, await find(asked), comfort);
    expect(
      await verdict(cellar, "The document does not mention the access code for the server room."),
    ).toEqual({ origin: "refusal", text: "The document does not say." });
    expect(
      await verdict(
        "In which year was Ida Berg born?",
        "There is no information about the year in which Ina Burg was born.",
      ),
    ).toEqual({ origin: "refusal", text: "The document does not say this about Ida Berg." });
    // In the words of the question, or in none.
    for (const said of [
      "The document does not mention the access code for the cellar.",
      "The document does not provide specific information.",
    ])
      expect(await verdict(cellar, said)).toEqual({ origin: "model", cited: null });
    // A large model may know another word for what was asked.
    const basement = "The document does not mention the door code of the basement.";
    expect((await verdict(cellar, basement, LARGE)).origin).toBe("model");
  });

  test("that there is none is believed, unless a sentence has all the question's words", async () => {
    const said = "The document does not mention it.";
    expect(judgeAnswer(said, question, await find(question), SMALL).origin).toBe("quote");
    const other = "What is the access code for the cellar?";
    expect(judgeAnswer(said, other, await find(other), SMALL)).toEqual({
      origin: "model",
      cited: null,
    });
  });
});

describe("words", () => {
  test("names are kept together, numbers count as names, a first word's capital does not", () => {
    const terms = termsOf("Painted Mia Brandt in Lower Fell 12 pictures?");
    expect(namesOf(terms).map((name) => name.map(({ written }) => written))).toEqual([
      ["Mia", "Brandt"],
      ["Lower", "Fell", "12"],
    ]);
    expect(namesOf(termsOf("WHAT DID MIA BRANDT PAINT?"))).toEqual([]);
    expect(termsOf("How long is the rope?").map(({ word }) => word)).toEqual(["rope"]);
  });

  test("sentences keep abbreviations whole, and their offsets", () => {
    const said = "# Title\n\nDr. A. Berg met Mr. Lind. They left!  \n- One item\n- Two";
    expect(sentencesIn(said).map(({ start, end }) => said.slice(start, end))).toEqual([
      "# Title",
      "Dr. A. Berg met Mr. Lind.",
      "They left!",
      "- One item",
      "- Two",
    ]);
    const endless = "word ".repeat(1000);
    for (const { start, end } of sentencesIn(endless)) expect(end - start).toBeLessThanOrEqual(600);
  });

  test("support asks for every number and address to the letter", () => {
    const given = "You can reach Mia Brandt at mia.brandt@example.org from 1,250 places.";
    const support = (answer: string) => isSupported(supportOf(answer, "Where is Mia?", given));
    expect(support("At mia.brandt@example.org.")).toBe(true);
    expect(support("At mia.brand@example.org.")).toBe(false);
    expect(support("From 1,250 places.")).toBe(true);
    expect(support("From twelve places.")).toBe(false);
  });
});
