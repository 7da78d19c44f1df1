/**
 * How long one stretch of runs may take, in ms: its ids arrive together, and a reader should see words, not lines. Of
 * several sequences nobody reads each word, and their states take long to copy aside.
 */
const STRETCH_MS = { one: 30, several: 90 };
/** Runs of a stretch at most: beyond these the way through host memory costs nothing any more. */
export const MOST_RUNS = 64;

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

/** A pace that knows nothing yet, for so many sequences. */
export function createPace(sequences: number): Pace {
  const stretchMs = sequences === 1 ? STRETCH_MS.one : STRETCH_MS.several;
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
      const fit = Math.floor((stretchMs * runs) / Math.max(ms, Number.MIN_VALUE));
      // One stretch, slow or quick, says little: the first ones, or one that something else held up.
      const most = Math.min(MOST_RUNS, Math.max(2 * fitting, 1));
      fitting = Math.max(Math.floor(fitting / 2), Math.min(most, fit));
    },
  };
}
