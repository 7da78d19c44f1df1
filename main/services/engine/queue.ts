/** One job at a time, first come first served. */
export interface Queue {
  /** @throws what the job throws */
  run<T>(job: () => Promise<T>): Promise<T>;
  /** Resolves when nothing runs or waits. */
  idle(): Promise<void>;
}

export function createQueue(): Queue {
  let last: Promise<unknown> = Promise.resolve();
  return {
    run(job) {
      const mine = last.then(job);
      // Whether a job succeeds is its caller's matter, not the next job's.
      last = mine.catch(() => undefined);
      return mine;
    },
    async idle() {
      await last;
    },
  };
}
