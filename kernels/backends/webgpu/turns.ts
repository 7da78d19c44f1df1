/** Runs pieces of work one after the other, in the order of the calls. */
export type InTurn = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * A queue of its own. Calls of a backend take turns because each has waits between choosing its buffers and submitting
 * its commands; a plan that needs a larger arena must not free it in between.
 */
export function createTurns(): InTurn {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    // Its caller hears of the failure; the next turn comes all the same.
    last = result.catch(() => undefined);
    return result;
  };
}
