import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";

/** Staging buffers above this are freed after use: a prefill with all logits must not keep 100 MB. Bytes. */
const KEEP_BYTES = 32 * 2 ** 20;

/** A stretch of a GPU buffer, in bytes. */
export interface Stretch {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
}

/** Copies GPU memory to the host through staging buffers that are used again. */
export interface Readback {
  /**
   * Sees to it that the next `submitAndRead` of so many bytes submits before it returns.
   * @throws KernelError `device-lost`, `out-of-memory`
   */
  prepare(bytes: number): Promise<void>;
  /**
   * Appends the copies to the encoder, submits it, and resolves with a fresh array a stretch.
   * @throws KernelError `device-lost`, `out-of-memory`
   */
  submitAndRead(encoder: GPUCommandEncoder, stretches: readonly Stretch[]): Promise<Float32Array[]>;
}

/** A readback with an empty pool. */
export function createReadback(gpu: GpuDevice, allocator: Allocator): Readback {
  const idle: Allocation[] = [];

  /** The smallest idle buffer that is large enough. */
  function idleFor(bytes: number): Allocation | undefined {
    idle.sort((a, b) => a.bytes - b.bytes);
    return idle.find((allocation) => allocation.bytes >= bytes);
  }

  /** A new one, of a power of two. */
  async function allocate(bytes: number): Promise<Allocation> {
    const size = bytes > KEEP_BYTES ? bytes : 2 ** Math.ceil(Math.log2(Math.max(bytes, 4096)));
    return allocator.allocateChecked(
      "readback",
      size,
      GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
      "workspace",
    );
  }

  return {
    async prepare(bytes) {
      if (idleFor(bytes) === undefined) idle.push(await allocate(bytes));
    },
    async submitAndRead(encoder, stretches) {
      const total = stretches.reduce((sum, { bytes }) => sum + bytes, 0);
      const ready = idleFor(total);
      if (ready !== undefined) idle.splice(idle.indexOf(ready), 1);
      const staging = ready ?? (await allocate(total));
      try {
        let at = 0;
        for (const { buffer, offset, bytes } of stretches) {
          if (bytes > 0) encoder.copyBufferToBuffer(buffer, offset, staging.buffer, at, bytes);
          at += bytes;
        }
        gpu.device.queue.submit([encoder.finish()]);
        await gpu.settle(staging.buffer.mapAsync(GPUMapMode.READ, 0, total));
        const mapped = staging.buffer.getMappedRange(0, total);
        let from = 0;
        const arrays = stretches.map(({ bytes }) => {
          const values = new Float32Array(mapped.slice(from, from + bytes));
          from += bytes;
          return values;
        });
        staging.buffer.unmap();
        if (staging.bytes > KEEP_BYTES) staging.release();
        else idle.push(staging);
        return arrays;
      } catch (error) {
        // Its mapping may be pending: not fit for another use.
        staging.release();
        throw error;
      }
    },
  };
}
