import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuState } from "./states.ts";

/** One of the two copies: of a state before what the device works on, and before what is enqueued behind that. */
export type ShadowSlot = 0 | 1;

/**
 * Copies of one state's slots that do not grow, to go back to. Those that grow need none: what was added behind a
 * sequence's position is written again before it is read.
 */
export interface Shadow {
  /** Makes room for two copies of the state. @throws KernelError `out-of-memory`, `device-lost` */
  fit(state: GpuState): Promise<void>;
  save(encoder: GPUCommandEncoder, state: GpuState, slot: ShadowSlot): void;
  restore(encoder: GPUCommandEncoder, state: GpuState, slot: ShadowSlot): void;
}

/** A backend's one shadow, in memory that grows to the largest state. */
export function createShadow(allocator: Allocator): Shadow {
  const held: (Allocation | null)[] = [null, null];

  function copy(
    state: GpuState,
    slot: ShadowSlot,
    each: (own: GPUBuffer, shadow: GPUBuffer, at: number, bytes: number) => void,
  ): void {
    const shadow = held[slot];
    if (shadow === null) throw new Error("a shadow without memory: fit comes first");
    let at = 0;
    for (const { buffer, bytes } of state.fixed) {
      each(buffer, shadow.buffer, at, bytes);
      at += bytes;
    }
  }

  return {
    async fit(state) {
      const bytes = state.fixed.reduce((sum, slot) => sum + slot.bytes, 0);
      for (const slot of held.keys()) {
        const current = held[slot];
        if (current !== null && current.bytes >= bytes) continue;
        current?.release();
        held[slot] = null;
        const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
        held[slot] = await allocator.allocateChecked("shadow state", bytes, usage, "workspace");
      }
    },
    save: (encoder, state, slot) =>
      copy(state, slot, (own, shadow, at, bytes) =>
        encoder.copyBufferToBuffer(own, 0, shadow, at, bytes),
      ),
    restore: (encoder, state, slot) =>
      copy(state, slot, (own, shadow, at, bytes) =>
        encoder.copyBufferToBuffer(shadow, at, own, 0, bytes),
      ),
  };
}
