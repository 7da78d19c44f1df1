import * as fc from "fast-check";
import { expect } from "vitest";
import type { RandomAccessFile } from "../weights/source.ts";

/** Inputs that each parser must survive. */
export const FUZZ_RUNS = 200_000;
/** Time for that many, ms. */
export const FUZZ_MS = 300_000;
/** More than any of the small inputs should take: a parser that needs longer would hang on a large one. */
const LONGEST_MS = 1000;
/** Memory that all runs together may leave behind before a collection; the inputs are a few kilobytes each. */
const MOST_BYTES = 512 * 1024 * 1024;

/**
 * Gives `parse` 200,000 inputs, always the same ones. It must end in time, without much memory, and without any error
 * but those that `refuses` knows.
 */
export async function fuzz<Input>(
  inputs: fc.Arbitrary<Input>,
  parse: (input: Input) => Promise<void> | void,
  refuses: (error: unknown) => boolean,
): Promise<void> {
  const before = process.memoryUsage().rss;
  let accepted = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(inputs, async (input) => {
      const start = performance.now();
      try {
        await parse(input);
        accepted++;
      } catch (error) {
        if (!refuses(error)) throw error;
        refused++;
      }
      const took = performance.now() - start;
      if (took > LONGEST_MS) throw new Error(`one input took ${took} ms`);
    }),
    { numRuns: FUZZ_RUNS, seed: 20_261_122, endOnFailure: false },
  );
  // A mutator that breaks everything, or nothing, proves nothing.
  expect(accepted).toBeGreaterThan(FUZZ_RUNS / 1000);
  expect(refused).toBeGreaterThan(FUZZ_RUNS / 100);
  expect(process.memoryUsage().rss - before).toBeLessThan(MOST_BYTES);
}

/** Bytes as a file that fails the test if more than twice its length is asked for: readers allocate what they ask for. */
export function watchedFile(name: string, bytes: Uint8Array): RandomAccessFile {
  let asked = 0;
  return {
    name,
    bytes: bytes.byteLength,
    async read(offset, length) {
      asked += length;
      if (asked > 2 * bytes.byteLength + 64)
        throw new Error(`${asked} bytes were asked of ${name}, which has ${bytes.byteLength}`);
      return bytes.slice(offset, offset + length);
    },
    close: async () => {},
  };
}
