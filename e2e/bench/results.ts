/** The results that are kept: docs/benchmarks.json, from which docs/benchmarks.md is written. */
import { z } from "zod";

const rate = z.object({ median: z.number(), min: z.number(), max: z.number(), runs: z.number() });

/** Whether two engines compute the same: differences of logits, and the token after which choices part. */
export const verdictSchema = z.object({
  peerGap: z.number().nullable(),
  allowed: z.number().nullable(),
  off: z.number().nullable(),
  parting: z.number().nullable(),
  partingMargin: z.number().nullable(),
  same: z.boolean(),
});

const row = z.object({
  place: z.enum(["cpu", "chromium", "gpu"]),
  machine: z.string(),
  model: z.string(),
  format: z.string(),
  measure: z.string(),
  peer: z.string(),
  peerDevice: z.string(),
  tarnDevice: z.string(),
  ours: rate,
  theirs: rate,
  ratio: z.number().nullable(),
  gate: verdictSchema,
  busy: z.number().nullable(),
  weightBytes: z.number(),
  commit: z.string(),
  date: z.string(),
});

const limit = z.object({
  place: z.enum(["cpu", "gpu"]),
  machine: z.string(),
  what: z.string(),
  value: z.number(),
  date: z.string(),
});

const figure = z.object({
  kind: z.enum(["batch", "sampled", "flat speed", "flat memory", "start"]),
  place: z.enum(["cpu", "gpu"]),
  machine: z.string(),
  tarnDevice: z.string(),
  model: z.string(),
  format: z.string(),
  /** "16 sequences against 1, decode 64". */
  measure: z.string(),
  value: z.number(),
  /** What it was made of, in words. */
  detail: z.string(),
  commit: z.string(),
  date: z.string(),
});

const profile = z.object({
  place: z.enum(["cpu", "gpu"]),
  machine: z.string(),
  model: z.string(),
  format: z.string(),
  /** "decode 64", "prefill 2048". */
  measure: z.string(),
  tokens: z.number(),
  bytesPerSecond: z.number().nullable(),
  rows: z.array(
    z.object({
      kernel: z.string(),
      calls: z.number(),
      ms: z.number(),
      bytes: z.number(),
      flop: z.number(),
    }),
  ),
  commit: z.string(),
  date: z.string(),
});

const results = z.object({
  rows: z.array(row),
  limits: z.array(limit),
  figures: z.array(figure),
  profiles: z.array(profile),
});

/** One comparison with all that is needed to judge it. Rates are tokens a second. */
export type Row = z.infer<typeof row>;
/** One rate that the device allows. */
export type KeptLimit = z.infer<typeof limit>;
/** What was measured of Tarn alone. The unit is its kind's: times as much, times as fast, bytes, seconds. */
export type Figure = z.infer<typeof figure>;
/** Where the time of one kind of run goes, kernel by kernel (kernels/spec/profile.ts). */
export type KeptProfile = z.infer<typeof profile>;
export type Results = z.infer<typeof results>;

/** @throws Error for anything but such a file */
export function readResults(text: string): Results {
  return results.parse(JSON.parse(text));
}

/** Old results with new ones: those of the same machine, file, measure and peer are replaced, the others stay. */
export function merge(old: Results, fresh: Results): Results {
  return {
    rows: sorted(old.rows, fresh.rows, (r) =>
      [r.place, r.machine, r.peer, r.model, r.format, r.measure].join("|"),
    ),
    limits: sorted(old.limits, fresh.limits, (l) => [l.place, l.machine, l.what].join("|")),
    figures: sorted(old.figures, fresh.figures, (f) =>
      [f.kind, f.place, f.machine, f.model, f.format, f.measure].join("|"),
    ),
    profiles: sorted(old.profiles, fresh.profiles, (p) =>
      [p.place, p.machine, p.model, p.format, p.measure].join("|"),
    ),
  };
}

function sorted<T>(old: readonly T[], fresh: readonly T[], keyOf: (one: T) => string): T[] {
  const kept = new Map([...old, ...fresh].map((one) => [keyOf(one), one]));
  return [...kept].toSorted(([a], [b]) => a.localeCompare(b)).map(([, one]) => one);
}
