/** What repeated timings of one thing came to. */
export interface Rate {
  /** Tokens a second. */
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
}

/** @throws RangeError without values */
export function summarise(rates: readonly number[]): Rate {
  const sorted = rates.toSorted((a, b) => a - b);
  const [min, max] = [sorted.at(0), sorted.at(-1)];
  if (min === undefined || max === undefined) throw new RangeError("no timed run");
  return { median: middle(sorted), min, max, runs: sorted.length };
}

function middle(sorted: readonly number[]): number {
  const at = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(at)] ?? NaN) + (sorted[Math.ceil(at)] ?? NaN)) / 2;
}
