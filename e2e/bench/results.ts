/** The results that are kept: docs/benchmarks.json, from which docs/benchmarks.md is written. */
import { z } from "zod";

const rate = z.object({ median: z.number(), min: z.number(), max: z.number(), runs: z.number() });

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
  gate: z.object({
    peerGap: z.number().nullable(),
    allowed: z.number().nullable(),
    off: z.number().nullable(),
    parting: z.number().nullable(),
    partingMargin: z.number().nullable(),
    same: z.boolean(),
  }),
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

const results = z.object({ rows: z.array(row), limits: z.array(limit) });

/** One comparison with all that is needed to judge it. Rates are tokens a second. */
export type Row = z.infer<typeof row>;
/** One rate that the device allows. */
export type KeptLimit = z.infer<typeof limit>;
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
  };
}

function sorted<T>(old: readonly T[], fresh: readonly T[], keyOf: (one: T) => string): T[] {
  const kept = new Map([...old, ...fresh].map((one) => [keyOf(one), one]));
  return [...kept].toSorted(([a], [b]) => a.localeCompare(b)).map(([, one]) => one);
}
