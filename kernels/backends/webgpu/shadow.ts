import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuState } from "./states.ts";

/**
 * A copy of one state's slots that do not grow, to go back to. Those that grow need none: what was added behind a
 * sequence's position is written again before it is read.
 */
export interface Shadow {
  /** Makes room for a copy of the state. @throws KernelError `out-of-memory`, `device-lost` */
  fit(state: GpuState): Promise<void>;
  save(encoder: GPUCommandEncoder, state: GpuState): void;
  restore(encoder: GPUCommandEncoder, state: GpuState): void;
}

/** A backend's one shadow, in memory that grows to the largest state. */
export function createShadow(allocator: Allocator): Shadow {
  let held: Allocation | null = null;

  function copy(
    state: GpuState,
    each: (slot: GPUBuffer, shadow: GPUBuffer, at: number, bytes: number) => void,
  ): void {
    if (held === null) throw new Error("a shadow without memory: fit comes first");
    let at = 0;
    for (const { buffer, bytes } of state.fixed) {
      each(buffer, held.buffer, at, bytes);
      at += bytes;
    }
  }

  return {
    async fit(state) {
      const bytes = state.fixed.reduce((sum, slot) => sum + slot.bytes, 0);
      if (held !== null && held.bytes >= bytes) return;
      held?.release();
      held = null;
      const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      held = await allocator.allocateChecked("shadow state", bytes, usage, "workspace");
    },
    save: (encoder, state) =>
      copy(state, (slot, shadow, at, bytes) =>
        encoder.copyBufferToBuffer(slot, 0, shadow, at, bytes),
      ),
    restore: (encoder, state) =>
      copy(state, (slot, shadow, at, bytes) =>
        encoder.copyBufferToBuffer(shadow, at, slot, 0, bytes),
      ),
  };
}
