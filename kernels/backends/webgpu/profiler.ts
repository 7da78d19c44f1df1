import { KernelError } from "../../spec/errors.ts";
import type { KernelTime } from "../../spec/profile.ts";
import type { GpuDevice } from "./device.ts";
import type { Stretch } from "./readback.ts";

/** WebGPU's limit on the queries of a set. */
const MAX_QUERIES = 4096;

/** One dispatch's name and cost, as a profile counts them. */
export interface ProfiledStep {
  readonly kernel: string;
  readonly bytes: number;
  readonly flop: number;
}

/** The clock of one run: two time stamps a dispatch. */
export interface RunClock {
  /** Of the pass that dispatch `index` has for itself. */
  passOf(index: number): GPUComputePassDescriptor;
  /** Behind the last pass: makes the stamps readable. */
  resolve(encoder: GPUCommandEncoder): readonly Stretch[];
  /** Books what `resolve` gave, read back. */
  book(stamps: readonly Float32Array[]): void;
}

/** Adds up the GPU's time by kernel. Passes of a single dispatch run one after the other: their sum is no run's time. */
export interface Profiler {
  /** Null while no profile is taken. */
  clockOf(steps: readonly ProfiledStep[]): RunClock | null;
  /** @throws KernelError `unsupported` where the adapter has no clock */
  profile(on: boolean): readonly KernelTime[];
}

/** A profiler that is off. */
export function createProfiler({ device }: GpuDevice): Profiler {
  const totals = new Map<string, KernelTime>();
  let sets: { readonly queries: GPUQuerySet; readonly buffer: GPUBuffer }[] = [];
  let isOn = false;

  function setOf(index: number): (typeof sets)[number] {
    const at = Math.floor((2 * index) / MAX_QUERIES);
    while (sets.length <= at) {
      sets.push({
        queries: device.createQuerySet({ type: "timestamp", count: MAX_QUERIES }),
        buffer: device.createBuffer({
          label: "time stamps",
          size: MAX_QUERIES * 8,
          usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
        }),
      });
    }
    return sets[at];
  }

  function add({ kernel, bytes, flop }: ProfiledStep, ms: number): void {
    const before = totals.get(kernel);
    totals.set(kernel, {
      kernel,
      calls: (before?.calls ?? 0) + 1,
      ms: (before?.ms ?? 0) + ms,
      bytes: (before?.bytes ?? 0) + bytes,
      flop: (before?.flop ?? 0) + flop,
    });
  }

  return {
    clockOf(steps) {
      if (!isOn) return null;
      const queries = 2 * steps.length;
      const usedSets = Math.ceil(queries / MAX_QUERIES);
      return {
        passOf(index) {
          const first = (2 * index) % MAX_QUERIES;
          return {
            timestampWrites: {
              querySet: setOf(index).queries,
              beginningOfPassWriteIndex: first,
              endOfPassWriteIndex: first + 1,
            },
          };
        },
        resolve: (encoder) =>
          Array.from({ length: usedSets }, (_, set) => {
            const { queries: querySet, buffer } = setOf((set * MAX_QUERIES) / 2);
            const count = Math.min(MAX_QUERIES, queries - set * MAX_QUERIES);
            encoder.resolveQuerySet(querySet, 0, count, buffer, 0);
            return { buffer, offset: 0, bytes: count * 8 };
          }),
        book(stamps) {
          const nanoseconds = stamps.map(
            ({ buffer, byteOffset, length }) => new BigUint64Array(buffer, byteOffset, length / 2),
          );
          steps.forEach((step, index) => {
            const set = nanoseconds[Math.floor((2 * index) / MAX_QUERIES)];
            const first = (2 * index) % MAX_QUERIES;
            add(step, Number(set[first + 1] - set[first]) / 1e6);
          });
        },
      };
    },
    profile(on) {
      if (on && !device.features.has("timestamp-query")) {
        throw new KernelError(
          "unsupported",
          "this GPU adapter has no time stamps (timestamp-query): its kernels cannot be timed",
        );
      }
      isOn = on;
      const taken = [...totals.values()];
      totals.clear();
      if (!on) {
        for (const { queries, buffer } of sets) {
          queries.destroy();
          buffer.destroy();
        }
        sets = [];
      }
      return taken;
    },
  };
}
