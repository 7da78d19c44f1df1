/** Why a target is missed and what was tried: written by hand, in docs/benchmarks-findings.json, and shown while it is. */
import { z } from "zod";
import { digits, grid } from "./grid.ts";
import type { KeptProfile, Results } from "./results.ts";
import { missText, outcomes, TARGETS, type Outcome } from "./targets.ts";

const findings = z.array(
  z.object({
    title: z.string(),
    /** Ids of targets.ts. */
    targets: z.array(z.enum(TARGETS.map(({ id }) => id))).min(1),
    /** Paragraphs. */
    why: z.array(z.string()).min(1),
    tried: z.array(z.string()),
    /** Which of the kept profiles show it. */
    profiles: z.array(
      z.object({
        place: z.enum(["cpu", "gpu"]),
        model: z.string(),
        format: z.string(),
        measure: z.string(),
      }),
    ),
  }),
);

/** What explains that targets are missed. */
export type Finding = z.infer<typeof findings>[number];

/** @throws Error for anything but such a file, a target that there is not among them */
export function readFindings(text: string): Finding[] {
  return findings.parse(JSON.parse(text));
}

/** The findings about what is missed now, each with the profiles that show it. */
export interface Shown {
  readonly finding: Finding;
  readonly about: readonly Outcome[];
  readonly profiles: readonly KeptProfile[];
}

/** Those of all findings whose targets are missed. */
export function shownFindings(results: Results, all: readonly Finding[]): Shown[] {
  const missed = missedIn(results);
  return all.flatMap((finding): Shown[] => {
    const about = missed.filter(({ target }) => finding.targets.includes(target.id));
    const profiles = results.profiles.filter((profile) =>
      finding.profiles.some(
        ({ place, model, format, measure }) =>
          profile.place === place &&
          profile.model === model &&
          profile.format === format &&
          profile.measure === measure,
      ),
    );
    return about.length === 0 ? [] : [{ finding, about, profiles }];
  });
}

function missedIn(results: Results): Outcome[] {
  return outcomes(results).filter(
    ({ measured, reached }) => !reached && measured !== null && measured.value !== null,
  );
}

/** The section about all that is missed; empty where nothing is. */
export function missedSection(results: Results, shown: readonly Shown[]): string {
  const missed = missedIn(results);
  if (missed.length === 0) return "";
  const explained = new Set(shown.flatMap(({ finding }) => finding.targets));
  const open = missed.filter(({ target }) => !explained.has(target.id));
  return [
    "## What is missed, and why\n",
    ...shown.map((one) => findingText(one, results)),
    ...(open.length > 0 ? ["### Not explained yet\n", missList(open)] : []),
  ].join("\n");
}

function findingText({ finding, about, profiles }: Shown, results: Results): string {
  const { title, why, tried } = finding;
  return [
    `### ${title}\n`,
    missList(about),
    ...why.map((paragraph) => `${paragraph}\n`),
    ...(tried.length === 0 ? [] : ["Tried:\n", `${tried.map((one) => `- ${one}`).join("\n")}\n`]),
    ...profiles.map((profile) => profileText(profile, results)),
  ].join("\n");
}

function missList(about: readonly Outcome[]): string {
  const lines = about.map((outcome) => {
    const { target, measured } = outcome;
    return `- ${target.text} (${measured?.what ?? ""}): ${digits(measured?.value ?? NaN)} ${target.unit}, ${missText(outcome)}`;
  });
  return `${lines.join("\n")}\n`;
}

/** Kernels that take less of the time are added up. */
const SMALL = 0.01;

/** A profile as a table: what each kernel moves and computes, and how near that is to what the device gives. */
export function profileText(profile: KeptProfile, { limits }: Pick<Results, "limits">): string {
  const { tokens, rows } = profile;
  const total = rows.reduce((sum, { ms }) => sum + ms, 0);
  const here = limits.filter(
    ({ machine, place }) => machine === profile.machine && place === profile.place,
  );
  const read = here.find(({ what }) => what.startsWith("read"));
  const memory = profile.bytesPerSecond ?? (read === undefined ? null : read.value * 1e9);
  const product = here.find(({ what }) => what.includes("product"));
  const small = rows.filter(({ ms }) => ms < SMALL * total);
  const merged = {
    kernel: `${small.length} others`,
    ...(["calls", "ms", "bytes", "flop"] as const).reduce(
      (sums, key) => ({ ...sums, [key]: small.reduce((sum, row) => sum + row[key], 0) }),
      { calls: 0, ms: 0, bytes: 0, flop: 0 },
    ),
  };
  const listed = rows.filter(({ ms }) => ms >= SMALL * total).toSorted((a, b) => b.ms - a.ms);
  const lines = [...listed, ...(small.length > 0 ? [merged] : [])].map((row) => {
    const rate = (amount: number): number => amount / (row.ms / 1000);
    const share = (amount: number, of: number | null): string =>
      amount === 0 || of === null ? "" : `${((100 * rate(amount)) / of).toFixed(0)} %`;
    return [
      row.kernel,
      digits(row.calls / tokens),
      digits((1000 * row.ms) / tokens),
      `${((100 * row.ms) / total).toFixed(1)} %`,
      row.bytes === 0 ? "" : digits(row.bytes / tokens / 1e6),
      row.bytes === 0 ? "" : digits(rate(row.bytes) / 1e9),
      share(row.bytes, memory),
      row.flop === 0 ? "" : digits(row.flop / tokens / 1e6),
      row.flop === 0 ? "" : digits(rate(row.flop) / 1e9),
      share(row.flop, product === undefined ? null : product.value * 1e12),
    ];
  });
  const per = `${digits((1000 * total) / tokens)} µs a token in kernels, each timed by itself`;
  const given = memory === null ? "" : `; memory gives ${digits(memory / 1e9)} GB/s`;
  const computes = product === undefined ? "" : `; ${product.what}: ${digits(product.value)}`;
  return [
    `${profile.model} ${profile.format}, ${profile.measure}, ${profile.place === "gpu" ? "GPU" : "CPU"}: ${per}${given}${computes} (${profile.commit}).\n`,
    grid(
      [
        "kernel",
        "calls a token",
        "µs a token",
        "of the time",
        "MB a token",
        "GB/s",
        "of memory",
        "MFLOP a token",
        "GFLOP/s",
        "of products",
      ],
      lines,
    ),
  ].join("\n");
}
