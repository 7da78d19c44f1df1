import { slotSize, type StateLayout } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";

/** WebGPU's minStorageBufferOffsetAlignment at its default. Bytes. */
const ALIGNMENT = 256;

/** Where a slot lies. Bytes. */
export interface SlotPlace {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

/** The slots of a state that do not grow, one behind the other in as few buffers as bindings allow: one, nearly always. */
export interface FixedSlots {
  readonly memory: readonly Allocation[];
  /** Of (B, slotSize) f32 each, by the slot's number; null of slots that grow. */
  readonly places: readonly (SlotPlace | null)[];
  release(): void;
}

/**
 * Zeroed slots. A sequence has one or two a layer: in buffers of their own each would be made, cleared at its first use,
 * copied and bound by itself.
 * @param most bytes that one binding may cover
 * @throws KernelError `out-of-memory` for a slot that no buffer holds
 */
export function createFixedSlots(
  allocator: Allocator,
  layout: StateLayout,
  batch: number,
  most: number,
): FixedSlots {
  const ends: { bytes: number; readonly label: string }[] = [];
  const at = layout.map((slot) => {
    if (slot.grows === true) return null;
    const size = Math.max(16, batch * slotSize(slot) * 4);
    let end = ends.at(-1);
    const offset = end === undefined ? 0 : Math.ceil(end.bytes / ALIGNMENT) * ALIGNMENT;
    if (end === undefined || offset + size > most) {
      end = { bytes: size, label: slot.name };
      ends.push(end);
      return { buffer: ends.length - 1, offset: 0, size };
    }
    end.bytes = offset + size;
    return { buffer: ends.length - 1, offset, size };
  });
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const memory: Allocation[] = [];
  const release = (): void => {
    for (const allocation of memory) allocation.release();
  };
  try {
    for (const { bytes, label } of ends)
      memory.push(allocator.allocate(`states from ${label}`, bytes, usage, "states"));
  } catch (error) {
    release();
    throw error;
  }
  return {
    memory,
    places: at.map((place) => place && { ...place, buffer: memory[place.buffer].buffer }),
    release,
  };
}
