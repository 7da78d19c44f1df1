/** What was measured, as Markdown. */
import {
  f1Of,
  isAnswerable,
  isCitedRight,
  isExact,
  isRight,
  mean,
  share,
  WAYS,
  type Judged,
} from "./judged.ts";

const DEPTHS = 5;

/** Every way at every length. */
export function overview(all: readonly Judged[]): string {
  const rows: string[][] = [];
  for (const way of WAYS) {
    for (const length of lengthsOf(all)) {
      const here = all.filter((one) => one.way === way && one.length === length);
      if (here.length === 0) continue;
      const answerable = here.filter(isAnswerable);
      const facts = here.filter(({ question }) => question.group === "fact");
      const cited = answerable.filter(({ given }) => !given.isRefusal && given.cited !== null);
      const others = here.filter((one) => !isAnswerable(one));
      rows.push([
        way,
        kilo(length),
        String(answerable.length),
        share(answerable, isExact),
        (100 * mean(answerable, f1Of)).toFixed(1),
        share(answerable, isRight),
        share(facts, isRight),
        share(
          facts.filter(({ given }) => given.origin === "model"),
          isRight,
        ),
        share(cited, isCitedRight),
        share(answerable, ({ given }) => given.isRefusal),
        `${share(others, ({ given }) => given.isRefusal)} (${others.length})`,
        mean(here, ({ given }) => given.tokens).toFixed(0),
        mean(here, ({ given }) => given.seconds).toFixed(2),
      ]);
    }
  }
  return table(
    [
      "way",
      "tokens",
      "n",
      "EM %",
      "F1 %",
      "right %",
      "facts right %",
      "of the model's own %",
      "citation hits %",
      "wrongly refused %",
      "refused where nothing is said % (n)",
      "tokens a question",
      "s a question",
    ],
    rows,
  );
}

/** Facts that were found, by the document's length and their depth in it. */
export function needles(all: readonly Judged[]): string {
  const rows: string[][] = [];
  for (const way of WAYS) {
    for (const length of lengthsOf(all)) {
      const facts = all.filter(
        (one) => one.way === way && one.length === length && one.question.group === "fact",
      );
      if (facts.length === 0) continue;
      const at = (one: Judged): number =>
        Math.min(Math.floor((one.question.answer?.depth ?? 0) * DEPTHS), DEPTHS - 1);
      const bins = Array.from({ length: DEPTHS }, (_, depth) =>
        share(
          facts.filter((one) => at(one) === depth),
          isRight,
        ),
      );
      rows.push([way, kilo(length), ...bins, share(facts, isRight), String(facts.length)]);
    }
  }
  return table(
    ["way", "tokens", "0–20 %", "20–40 %", "40–60 %", "60–80 %", "80–100 %", "all", "n"],
    rows,
  );
}

/** Right answers by the kind of question, all lengths together. */
export function kinds(all: readonly Judged[]): string {
  const groups: readonly (readonly [string, (one: Judged) => boolean])[] = [
    [
      "fact, worded as in training",
      ({ question }) => question.group === "fact" && question.familiar,
    ],
    ["fact, worded otherwise", ({ question }) => question.group === "fact" && !question.familiar],
    ...["about", "complete", "when", "how many"].map(
      (kind) => [`text: ${kind}`, ({ question }: Judged) => question.kind === kind] as const,
    ),
  ];
  const ways = WAYS.filter((way) => all.some((one) => one.way === way));
  const rows = groups.map(([name, is]) => [
    name,
    ...ways.map((way) => {
      const here = all.filter((one) => one.way === way && is(one));
      return `${share(here, isRight)} (${here.length})`;
    }),
  ]);
  return table(["question", ...ways.map((way) => `${way} % (n)`)], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const rule = head.map((_, index) => (index === 0 ? "---" : "---:"));
  return [line(head), line(rule), ...rows.map(line)].join("\n");
}

function lengthsOf(all: readonly Judged[]): number[] {
  return [...new Set(all.map(({ length }) => length))].toSorted((a, b) => a - b);
}

function kilo(tokens: number): string {
  return `${tokens / 1024}k`;
}
