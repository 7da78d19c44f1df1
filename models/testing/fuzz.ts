import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as fc from "fast-check";
import { expect } from "vitest";
import type { RandomAccessFile } from "../weights/source.ts";

/** Inputs that each parser must survive. */
export const FUZZ_RUNS = 200_000;
const BATCH = 1000;
const BATCHES = FUZZ_RUNS / BATCH;
/** From this batch on memory is counted: allocators grow to what such inputs take, less and less, and a leak grows evenly. */
const SETTLED = BATCHES / 4;
const { TARN_TEST_SEED: given } = process.env;
/** Of the first batch; see e2e/properties.setup.ts. */
const SEED = given === undefined ? 20_261_122 : Number(given) * 1000;
/** More than any of the small inputs should take: a parser that needs longer would hang on a large one. */
const LONGEST_MS = 1000;
/** Memory that all runs from `SETTLED` on may leave behind together; the inputs are a few kilobytes each. */
const MOST_BYTES = 512 * 1024 * 1024;

setFlagsFromString("--expose-gc");
const collect: unknown = runInNewContext("gc");

/** Behind a collection: when there is one by itself depends on how busy the machine is. */
function residentBytes(): number {
  if (typeof collect !== "function") throw new Error("V8 has no collection to ask for");
  collect();
  return process.memoryUsage().rss;
}

/**
 * Gives `parse` 200,000 inputs, the same ones in every run unless TARN_TEST_SEED says otherwise. It must end in time, without
 * much memory, and without any error but those that `refuses` knows.
 */
export async function fuzz<Input>(
  inputs: fc.Arbitrary<Input>,
  parse: (input: Input) => Promise<void> | void,
  refuses: (error: unknown) => boolean,
): Promise<void> {
  let settled = 0;
  let accepted = 0;
  let refused = 0;
  // In batches: the tester holds on to every input of a run, and 200,000 of them do not fit.
  for (let batch = 0; batch < BATCHES; batch++) {
    if (batch === SETTLED) settled = residentBytes();
    const seed = SEED + batch;
    for (const input of fc.sample(inputs, { numRuns: BATCH, seed })) {
      const start = performance.now();
      const work = process.cpuUsage();
      try {
        await parse(input);
        accepted++;
      } catch (error) {
        if (!refuses(error)) throw new Error(`seed ${seed}: ${shown(input)}`, { cause: error });
        refused++;
      }
      const took = performance.now() - start;
      // The clock alone would also count what other programs take.
      if (took > LONGEST_MS && process.cpuUsage(work).user / 1000 > LONGEST_MS)
        throw new Error(`seed ${seed}: ${took} ms for ${shown(input)}`);
    }
  }
  // A mutator that breaks everything, or nothing, proves nothing.
  expect(accepted).toBeGreaterThan(FUZZ_RUNS / 1000);
  expect(refused).toBeGreaterThan(FUZZ_RUNS / 100);
  expect(residentBytes() - settled).toBeLessThan(MOST_BYTES);
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

function shown(input: unknown): string {
  return input instanceof Uint8Array
    ? Buffer.from(input).toString("base64")
    : JSON.stringify(input);
}
