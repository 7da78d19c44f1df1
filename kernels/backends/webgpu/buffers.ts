import { KernelError } from "../../spec/errors.ts";
import type { GpuDevice } from "./device.ts";

/** What a buffer is for, as `Backend.memory` counts it. */
export type MemoryUse = "weights" | "states" | "workspace";

/** A buffer and its share of the books; whoever allocated it releases it. */
export interface Allocation {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
  /** Why the memory could not be had; WebGPU tells only later. Null if all is well. */
  readonly problem: Promise<KernelError | null>;
  /** Moves it to another use's books. */
  countAs(use: MemoryUse): void;
  release(): void;
}

/** Makes the backend's buffers, all of them, and knows how many bytes each use holds. */
export interface Allocator {
  /**
   * Zeroed memory of at least `bytes`, which `problem` may still refuse.
   * @throws KernelError `out-of-memory` if the device never has buffers of that size
   */
  allocate(label: string, bytes: number, usage: GPUBufferUsageFlags, use: MemoryUse): Allocation;
  /** The same, waiting for the answer. @throws KernelError `out-of-memory`, `device-lost` */
  allocateChecked(
    label: string,
    bytes: number,
    usage: GPUBufferUsageFlags,
    use: MemoryUse,
  ): Promise<Allocation>;
  held(): { readonly weights: number; readonly states: number; readonly workspace: number };
  /** Calls this before so many bytes are allocated: whoever holds memory for later may give it back. */
  onNeed(give: (bytes: number) => void): void;
  releaseAll(): void;
}

/** An allocator with empty books. */
export function createAllocator(gpu: GpuDevice): Allocator {
  const { device } = gpu;
  const live = new Set<Allocation>();
  const books = { weights: 0, states: 0, workspace: 0 };
  const givers: ((bytes: number) => void)[] = [];

  function allocate(
    label: string,
    wanted: number,
    usage: GPUBufferUsageFlags,
    firstUse: MemoryUse,
  ): Allocation {
    // Bindings of length 0 are invalid, and copies go by words of 4 bytes.
    const bytes = Math.max(16, Math.ceil(wanted / 4) * 4);
    if (bytes > device.limits.maxBufferSize) {
      throw new KernelError(
        "out-of-memory",
        `${label} needs ${bytes} bytes, but this GPU's buffers end at ${device.limits.maxBufferSize}`,
        { bytes, limit: device.limits.maxBufferSize },
      );
    }
    for (const give of givers) give(bytes);
    let use = firstUse;
    device.pushErrorScope("out-of-memory");
    const buffer = device.createBuffer({ label, size: bytes, usage });
    const problem = device.popErrorScope().then(
      (error) =>
        error === null
          ? null
          : new KernelError(
              "out-of-memory",
              `${label}: no ${bytes} bytes left on the GPU (${error.message})`,
              { bytes },
            ),
      // A lost device rejects its scopes; the loss itself is reported by the next check.
      (reason: unknown) =>
        new KernelError("device-lost", `${label}: the GPU device is gone (${String(reason)})`),
    );
    books[use] += bytes;
    const allocation: Allocation = {
      buffer,
      bytes,
      problem,
      countAs(other) {
        if (!live.has(allocation)) return;
        books[use] -= bytes;
        use = other;
        books[use] += bytes;
      },
      release() {
        if (!live.delete(allocation)) return;
        books[use] -= bytes;
        buffer.destroy();
      },
    };
    live.add(allocation);
    return allocation;
  }

  return {
    allocate,
    async allocateChecked(label, bytes, usage, use) {
      const allocation = allocate(label, bytes, usage, use);
      const problem = await gpu.settle(allocation.problem);
      if (problem !== null) {
        allocation.release();
        throw problem;
      }
      return allocation;
    },
    held: () => ({ ...books }),
    onNeed: (give) => void givers.push(give),
    releaseAll() {
      for (const allocation of live) allocation.release();
    },
  };
}
