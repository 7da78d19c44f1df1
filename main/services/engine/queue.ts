/**
 * Whose work goes first: a chat's turn; then what the user asked for and looks at (a memory map, an audit, reading the opened chat
 * again); then what is done in the background.
 */
const RANKS = ["turn", "asked", "background"] as const;
export type Rank = (typeof RANKS)[number];

/** One job at a time, those of the highest rank first; among equals first come first served. */
export interface Queue {
  /** @throws what the job throws */
  run<T>(rank: Rank, job: () => Promise<T>): Promise<T>;
  /**
   * Whether a job of a higher rank waits. Work that takes long asks at the end of each of its steps, ends its job there, and goes on
   * with another one: nothing of it is lost, and nobody who is more urgent waits longer than for a step.
   */
  isWanted(rank: Rank): boolean;
  /** Resolves when nothing runs or waits. */
  idle(): Promise<void>;
}

export function createQueue(): Queue {
  const waiting: Readonly<Record<Rank, (() => Promise<void>)[]>> = {
    turn: [],
    asked: [],
    background: [],
  };
  let isRunning = false;
  let whenIdle: (() => void)[] = [];

  async function drain(): Promise<void> {
    isRunning = true;
    for (;;) {
      // Who came together is looked at together, so that the order of their coming is not the order of their ranks.
      await Promise.resolve();
      const rank = RANKS.find((one) => waiting[one].length > 0);
      const next = rank === undefined ? undefined : waiting[rank].shift();
      if (next === undefined) break;
      await next();
    }
    isRunning = false;
    const resting = whenIdle;
    whenIdle = [];
    for (const resolve of resting) resolve();
  }

  return {
    run<T>(rank: Rank, job: () => Promise<T>): Promise<T> {
      return new Promise<T>((resolve, reject) => {
        // Whether a job succeeds is its caller's matter, not the next job's.
        waiting[rank].push(async () => {
          try {
            resolve(await job());
          } catch (cause) {
            reject(cause);
          }
        });
        if (!isRunning) void drain();
      });
    },
    isWanted: (rank) => RANKS.slice(0, RANKS.indexOf(rank)).some((one) => waiting[one].length > 0),
    async idle() {
      if (isRunning) await new Promise<void>((resolve) => whenIdle.push(resolve));
    },
  };
}
