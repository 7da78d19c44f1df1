/** How long one stretch of runs may take, in ms: its ids arrive together, and a reader should see words, not lines. */
const STRETCH_MS = 30;
/** Runs of a stretch at most: beyond these the way through host memory costs nothing any more. */
const MOST_RUNS = 64;

/** How many runs to enqueue at once, learnt from how long runs take. */
export interface Pace {
  /** Begins an answer: its first stretches are short, so that its first words come at once. */
  begin(): void;
  /** Runs of the next stretch; never more than twice those of the one before. */
  next(): number;
  /** Whether the device should be given a stretch ahead: not where a single run takes longer than any way to the host. */
  readonly goesAhead: boolean;
  /** Books so many runs that took `ms` together. */
  took(runs: number, ms: number): void;
}

/** A pace that knows nothing yet. */
export function createPace(): Pace {
  let fitting = 1;
  let last = 0;
  return {
    begin() {
      last = 0;
    },
    next() {
      last = Math.max(1, Math.min(2 * last, fitting));
      return last;
    },
    get goesAhead() {
      return fitting > 0;
    },
    took(runs, ms) {
      const fit = Math.floor((STRETCH_MS * runs) / Math.max(ms, Number.MIN_VALUE));
      // The first runs, slow or quick, say little.
      fitting = Math.min(MOST_RUNS, Math.max(2 * fitting, 1), fit);
    },
  };
}
