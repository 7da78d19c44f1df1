/**
 * Documents that nobody wrote, of any length, whose questions have answers that are known by construction. Countries of the
 * World Factbook in a seeded order make one long text; its beginnings of 1k, 4k, … tokens are the documents of that length,
 * so that a model reads the text once. Facts stand between the sentences at depths that are spread evenly over each length.
 */
import { makeFact, type Fact } from "./facts.ts";
import { Random } from "./random.ts";
import { absentPhrase, askAbout, makeTextQuestion, sentencesOf } from "./text-questions.ts";

export interface Question {
  /** "access code", "about", … */
  readonly kind: string;
  readonly group: "fact" | "text" | "unanswerable";
  /** Of a form that the default model was trained on. */
  readonly familiar: boolean;
  readonly question: string;
  /** Null where the document does not say. */
  readonly answer: {
    /** The words that a right answer contains. */
    readonly value: string;
    /** Texts that are the whole answer. */
    readonly whole: readonly string[];
    /** UTF-16 offsets of the sentence that says so. */
    readonly start: number;
    readonly end: number;
    /** Its place in the document, 0 to 1. */
    readonly depth: number;
  } | null;
}

/** One of the nested documents. */
export interface QualityDocument {
  /** Tokens that were asked for. */
  readonly length: number;
  readonly text: string;
  readonly questions: readonly Question[];
}

export interface SetOptions {
  readonly seed: number;
  /** Tokens, rising. */
  readonly lengths: readonly number[];
  /** Of each length: facts that are asked for, questions about the text, questions without an answer. */
  readonly facts: number;
  readonly texts: number;
  readonly unanswerable: number;
}

interface Placed {
  readonly length: number;
  readonly depth: number;
  readonly fact: Fact;
}

/** The documents of one seed, shortest first; each is the beginning of the next. @param factbook the fixture */
export async function makeDocuments(
  factbook: string,
  { seed, lengths, facts, texts, unanswerable }: SetOptions,
  countTokens: (text: string) => Promise<number>,
): Promise<QualityDocument[]> {
  const random = new Random(seed);
  const taken = new Set<string>();
  const placed = lengths.flatMap((length) =>
    Array.from({ length: facts }, (_, at) => ({
      length,
      depth: (at + random.unit()) / facts,
      fact: makeFact(random, taken),
    })),
  );
  const { text, ends, rest } = await assemble(random, factbook, lengths, placed, countTokens);
  const absent = sentencesOf(rest);
  const asked = new Set<string>();
  return lengths.map((length, at) => {
    const document = text.slice(0, ends[at] ?? text.length);
    const questions = placed
      .filter((one) => one.length === length)
      .map(({ fact }) => askFact(fact, document));
    const used = new Set<number>();
    const sentences = sentencesOf(document).filter(
      (sentence) =>
        !placed.some(
          ({ fact }) =>
            fact.statement.includes(sentence.text) || sentence.text.includes(fact.statement),
        ),
    );
    for (let count = 0; count < texts; count++) {
      const made = makeTextQuestion(random, sentences, document, used);
      if (made === null) continue;
      const { kind, question, sentence, value } = made;
      questions.push({
        kind,
        group: "text",
        familiar: true,
        question,
        answer: {
          value: value ?? sentence.text,
          whole: value === null ? [sentence.text] : [value, sentence.text],
          start: sentence.start,
          end: sentence.start + sentence.text.length,
          depth: sentence.start / document.length,
        },
      });
    }
    for (let count = 0; count < unanswerable; count++) {
      const fact = count % 2 === 0 ? makeFact(random, taken) : null;
      questions.push({
        kind: fact === null ? "absent phrase" : "absent fact",
        group: "unanswerable",
        familiar: fact?.familiar ?? true,
        question: fact?.question ?? askAbout(random, absentPhrase(random, absent, document, asked)),
        answer: null,
      });
    }
    return { length, text: document, questions };
  });
}

function askFact(fact: Fact, document: string): Question {
  const start = document.indexOf(fact.statement);
  if (start < 0) throw new Error(`"${fact.statement}" did not get into its document.`);
  return {
    kind: fact.kind,
    group: "fact",
    familiar: fact.familiar,
    question: fact.question,
    answer: {
      value: fact.value,
      whole: [fact.value, fact.statement],
      start,
      end: start + fact.statement.length,
      depth: start / document.length,
    },
  };
}

/** Puts the text together, sentence by sentence, the facts where their depth has come. */
async function assemble(
  random: Random,
  factbook: string,
  lengths: readonly number[],
  placed: readonly Placed[],
  countTokens: (text: string) => Promise<number>,
): Promise<{ readonly text: string; readonly ends: readonly number[]; readonly rest: string }> {
  const countries = random.shuffle(factbook.split(/(?=^# )/m).map((country) => country.trim()));
  const waiting = placed
    .map((one) => ({ at: one.depth * one.length * 0.97, statement: one.fact.statement }))
    .toSorted((a, b) => a.at - b.at);
  const ends: number[] = [];
  let text = "";
  let tokens = 0;
  const longest = lengths.at(-1) ?? 0;
  while (tokens < longest) {
    const country = countries.pop();
    if (country === undefined) throw new RangeError(`The fixture has no ${longest} tokens.`);
    for (const paragraph of country.split("\n\n")) {
      if (tokens >= longest) break;
      const pieces = paragraph.startsWith("#") ? [paragraph] : paragraph.split(/(?<=[a-z)][.!?]) /);
      const written: string[] = [];
      for (const piece of pieces) {
        const heading = piece.startsWith("#");
        while (!heading && (waiting[0]?.at ?? Infinity) <= tokens) {
          const statement = waiting.shift()?.statement ?? "";
          written.push(statement);
          tokens += await countTokens(` ${statement}`);
        }
        const next = lengths[ends.length];
        if (!heading && next !== undefined && tokens >= next) {
          ends.push(text.length + written.join(" ").length);
          if (tokens >= longest) break;
        }
        written.push(piece);
        tokens += await countTokens(` ${piece}`);
      }
      text += `${written.join(" ")}\n\n`;
    }
  }
  while (ends.length < lengths.length) ends.push(text.trimEnd().length);
  return { text, ends, rest: countries.join("\n\n") };
}
