/** The results as people read them. */
import type { Results, Row } from "./results.ts";
import type { Rate } from "./statistics.ts";
import { outcomes, type Outcome } from "./targets.ts";

const PLACES = {
  cpu: "On the CPU: WebAssembly against llama.cpp's native library",
  chromium: "In a browser: Tarn and wllama in the same Chromium",
  gpu: "On a GPU: WebGPU against llama.cpp's Vulkan and CUDA builds",
} as const satisfies Readonly<Record<Row["place"], string>>;

const HEAD = `# Benchmarks

Written by \`npm run bench:peers -- --write\` ([how it is made fair](decisions/0016-fair-comparison.md)); every row says which commit it is of.
Random weights in the shapes of published models. Tokens a second: the median, and in brackets the least and the most of the timed runs, which Tarn and the peer take in turn after one that is not timed.
A ratio above 1 means that Tarn is faster. There is none where the two do not compute the same: the column "gate" has the largest difference of a logit from the peer's, what is allowed (twice as much as the peer's own f32 path is away from it), and the token after which the greedy choices part, if they do.
"Busy" is the largest share of the machine that something else used before a run.

llama.cpp's Vulkan build computes Mamba-1's scan on the CPU (its shader has Mamba-2's only), with the threads that \`--threads\` says: 2. The targets for the CPU were set on an AMD EPYC without AVX-512; where the processor has AMX or AVX-512, llama.cpp uses them, and WebAssembly computes 16 bytes at a time.
`;

/** docs/benchmarks.md */
export function markdown(results: Results): string {
  const parts = [HEAD, "## Targets\n", targetTable(outcomes(results))];
  for (const [place, title] of Object.entries(PLACES)) {
    const rows = results.rows.filter((row) => row.place === place);
    if (rows.length === 0) continue;
    parts.push(`## ${title}\n`);
    for (const machine of new Set(rows.map((row) => row.machine)))
      parts.push(machineSection(results, rows, machine));
  }
  return `${parts.join("\n").trimEnd()}\n`;
}

function machineSection(results: Results, rows: readonly Row[], machine: string): string {
  const here = rows.filter((row) => row.machine === machine);
  const limits = results.limits.filter(
    (limit) => limit.machine === machine && limit.place === here[0]?.place,
  );
  const devices = new Set(
    here.flatMap((row) => [`Tarn: ${row.tarnDevice}`, `${row.peer}: ${row.peerDevice}`]),
  );
  return [
    `${machine}.\n`,
    ...[...devices].map((device) => `- ${device}`),
    ...limits.map(({ what, value }) => `- Limit: ${what} ${figure(value)}`),
    "",
    table(here),
  ].join("\n");
}

const COLUMNS = ["model", "measure", "Tarn", "peer", "its rate", "ratio", "gate", "busy", "seen"];

/** The rows as a table of Markdown. */
export function table(rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    `${row.model} ${row.format}`,
    row.measure,
    rateText(row.ours),
    row.peer,
    rateText(row.theirs),
    row.ratio === null ? "none" : row.ratio.toFixed(2),
    gateText(row),
    row.busy === null ? "?" : `${(100 * row.busy).toFixed(0)} %`,
    `${row.commit}, ${row.date.slice(0, 16).replace("T", " ")}`,
  ]);
  return gridOf(COLUMNS, lines);
}

function targetTable(all: readonly Outcome[]): string {
  const lines = all.map(({ target, row, value, reached }) => {
    const aim = `${target.atLeast} ${target.unit}`;
    if (row === null) return [target.text, aim, "", "not measured", ""];
    const what = `${row.model} ${row.format}, ${row.measure}`;
    if (value === null) return [target.text, aim, what, "no ratio", "the gate is shut"];
    const seen = `${figure(value)} ${target.unit}`;
    const missing = `not reached: ${((value / target.atLeast) * 100).toFixed(0)} % of it`;
    return [target.text, aim, what, seen, reached ? "reached" : missing];
  });
  return gridOf(["target", "at least", "measured of", "seen", "outcome"], lines);
}

function gridOf(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const rows = [head, head.map(() => "---"), ...lines];
  return `${rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n")}\n`;
}

function rateText({ median, min, max }: Rate): string {
  return `${figure(median)} (${figure(min)}-${figure(max)})`;
}

function gateText({ gate }: Row): string {
  const number = (value: number | null): string => (value === null ? "?" : value.toPrecision(2));
  const logits =
    gate.off === null ? "tokens only" : `${number(gate.off)} of ${number(gate.allowed)}`;
  const tokens =
    gate.parting === null
      ? "same tokens"
      : `part after ${gate.parting}, where two logits are ${number(gate.partingMargin)} apart`;
  return `${gate.same ? "open" : "shut"}: ${logits}; ${tokens}`;
}

function figure(value: number): string {
  if (value >= 1000) return value.toFixed(0);
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
