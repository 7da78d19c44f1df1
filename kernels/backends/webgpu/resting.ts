import { sameLayout } from "../../spec/state-values.ts";
import type { StateLayout } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";

/** Memory of one sequence that can serve another of the same layout. */
export interface Restable {
  readonly layout: StateLayout;
  readonly memory: readonly Allocation[];
  release(): void;
}

/**
 * The last sequence's memory that was released, for the next one. With it come the bind groups that plans have made for it:
 * 25 to 50 µs each, one for every dispatch that touches a state, in the first run of each sequence (a prompt of 512 tokens
 * of a 2.7b model took 1 to 5 ms longer for them, of 38).
 */
export interface Resting<T extends Restable> {
  /** Counts the memory as workspace until it is taken. */
  put(memory: T): void;
  /** What rests, if it is of this layout, zeroed; null where there is none. */
  take(layout: StateLayout): T | null;
}

/** Nothing rests. It goes before anything of its size is allocated: none fails for it. */
export function createResting<T extends Restable>(
  { device }: GpuDevice,
  allocator: Allocator,
): Resting<T> {
  let resting: T | null = null;

  function drop(): void {
    resting?.release();
    resting = null;
  }

  allocator.onNeed((bytes) => {
    if (resting !== null && bytes >= sizeOf(resting)) drop();
  });
  return {
    put(memory) {
      drop();
      resting = memory;
      for (const allocation of memory.memory) allocation.countAs("workspace");
    },
    take(layout) {
      if (resting === null || !sameLayout(resting.layout, layout)) return null;
      const taken = resting;
      resting = null;
      const encoder = device.createCommandEncoder({ label: "clear states" });
      for (const allocation of taken.memory) {
        encoder.clearBuffer(allocation.buffer);
        allocation.countAs("states");
      }
      device.queue.submit([encoder.finish()]);
      return taken;
    },
  };
}

function sizeOf({ memory }: Restable): number {
  return memory.reduce((sum, { bytes }) => sum + bytes, 0);
}
