/** The results as people read them. */
import { missedSection, profileText, shownFindings, type Finding } from "./findings.ts";
import { digits, grid } from "./grid.ts";
import type { Figure, Results, Row } from "./results.ts";
import type { Rate } from "./statistics.ts";
import { missText, outcomes, type Outcome } from "./targets.ts";

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

llama.cpp's Vulkan build computes Mamba-1's scan on the CPU (its shader has Mamba-2's only); its rows say on how many threads. The targets for the CPU were set on an AMD EPYC without AVX-512; where the processor has AMX or AVX-512, llama.cpp uses them, and WebAssembly computes 16 bytes at a time.
`;

/** docs/benchmarks.md */
export function markdown(results: Results, findings: readonly Finding[]): string {
  const shown = shownFindings(results, findings);
  const parts = [
    HEAD,
    "## Targets\n",
    "Options are those of `npm run bench:peers --` that measure it again.\n",
    targetTable(outcomes(results)),
    missedSection(results, shown),
  ];
  for (const [place, title] of Object.entries(PLACES)) {
    const rows = results.rows.filter((row) => row.place === place);
    if (rows.length === 0) continue;
    parts.push(`## ${title}\n`);
    for (const machine of new Set(rows.map((row) => row.machine)))
      parts.push(machineSection(results, rows, machine));
  }
  const explaining = new Set(shown.flatMap(({ profiles }) => profiles));
  const profiles = results.profiles.filter((profile) => !explaining.has(profile));
  parts.push(aloneSection({ ...results, profiles }));
  return `${parts.join("\n").trimEnd()}\n`;
}

/** Several sequences at once, long ones, the start; and the profiles that no finding shows. */
function aloneSection({ figures, profiles, limits }: Results): string {
  if (figures.length + profiles.length === 0) return "";
  const lines = figures.map((figure) => [
    `${figure.model} ${figure.format}`,
    figure.measure,
    valueText(figure),
    figure.detail,
    figure.tarnDevice,
    seenText(figure),
  ]);
  return [
    "## Tarn alone\n",
    ...(figures.length === 0
      ? []
      : [grid(["model", "measure", "value", "of", "on", "seen"], lines)]),
    ...(profiles.length === 0 ? [] : ["### Where the time goes\n"]),
    ...profiles.map((profile) => profileText(profile, { limits })),
  ].join("\n");
}

function valueText({ kind, value }: Figure): string {
  if (kind === "batch" || kind === "sampled") return `${digits(value)} ×`;
  if (kind === "flat speed") return `${(100 * value).toFixed(1)} %`;
  return kind === "flat memory" ? `${(value / 1e6).toFixed(2)} MB` : `${value.toFixed(2)} s`;
}

function seenText({ commit, date }: Pick<Row, "commit" | "date">): string {
  return `${commit}, ${date.slice(0, 16).replace("T", " ")}`;
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
    ...limits.map(({ what, value }) => `- Limit: ${what} ${digits(value)}`),
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
    seenText(row),
  ]);
  return grid(COLUMNS, lines);
}

function targetTable(all: readonly Outcome[]): string {
  const lines = all.map((outcome) => {
    const { target, measured, reached } = outcome;
    const aim = `${target.bound} ${target.aim} ${target.unit}`;
    if (measured === null) return [target.text, aim, "", "not measured", "", ""];
    const { what, options, value } = measured;
    const command = `\`${options}\``;
    if (value === null) return [target.text, aim, what, "no ratio", "the gate is shut", command];
    const seen = `${digits(value)} ${target.unit}`;
    return [target.text, aim, what, seen, reached ? "reached" : missText(outcome), command];
  });
  return grid(["target", "aim", "measured of", "seen", "outcome", "options"], lines);
}

function rateText({ median, min, max }: Rate): string {
  return `${digits(median)} (${digits(min)}-${digits(max)})`;
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
