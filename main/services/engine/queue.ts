/** One job at a time, first come first served. */
export interface Queue {
  /** @throws what the job throws */
  run<T>(job: () => Promise<T>): Promise<T>;
  /** Whether a job waits behind the one that runs: what is done in the background makes way then. */
  isWanted(): boolean;
  /** Resolves when nothing runs or waits. */
  idle(): Promise<void>;
}

export function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return {
    run(job) {
      waiting++;
      const mine = last.then(() => {
        waiting--;
        return job();
      });
      // Whether a job succeeds is its caller's matter, not the next job's.
      last = mine.catch(() => undefined);
      return mine;
    },
    isWanted: () => waiting > 0,
    async idle() {
      await last;
    },
  };
}
