import { KernelError } from "../../spec/errors.ts";
import type { Plan } from "../../spec/op.ts";
import type { Tensor } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";

/** Values between starts of buffers in the arena: 256 bytes, so that no two share a cache line. */
const ALIGNMENT = 64;

/** Where a plan's ids, temporaries, outputs and scratch lie in the arena, in words. */
export interface ArenaLayout {
  /** (B, T) i32: the ids of the next run. */
  readonly ids: number;
  /** For reading; of a state, the place of its copy. */
  place(tensor: Tensor): number;
  /** For writing. @throws KernelError `backend` for a state */
  target(tensor: Tensor): number;
  /** First value of output `index`. */
  output(index: number): number;
  /** Scratch of the call being described; freed by `beginCall`. */
  scratch(values: number): number;
  /** The arena index of values that outlive all calls of a run; asked for behind the last scratch. */
  lasting(values: number): number;
  /** Begins a call: frees the scratch of the one before. */
  beginCall(): void;
  /** The states that the call reads as ordinary tensors, to be copied in before it. */
  copies(): readonly StateCopy[];
  /** Values that the plan needs, known once all calls are described. */
  size(): number;
}

/** Values of a state slot that are copied to the arena before a call. */
export interface StateCopy {
  readonly slot: number;
  /** First value in the slot. */
  readonly from: number;
  /** First value in the arena. */
  readonly to: number;
  readonly values: number;
}

/** Lays out a plan: ids, temporaries, outputs, then scratch that every call uses again. */
export function layOutArena(plan: Plan): ArenaLayout {
  let end = 0;
  const reserve = (values: number): number => {
    const at = end;
    end += Math.ceil(values / ALIGNMENT) * ALIGNMENT;
    return at;
  };
  const ids = reserve(plan.batch * plan.length);
  const temporaries = plan.temporaries.map(reserve);
  const outputs = plan.outputs.map(reserve);
  const scratchStart = end;
  let most = end;
  let copies: StateCopy[] = [];

  function target({ buffer, offset }: Tensor): number {
    if (buffer.kind === "temporary") return temporaries[buffer.index] + offset;
    if (buffer.kind === "output") return outputs[buffer.index] + offset;
    throw new KernelError(
      "backend",
      `a ${buffer.kind} cannot be written as an ordinary tensor on WebGPU`,
      { kind: buffer.kind },
    );
  }

  function scratch(values: number): number {
    const at = reserve(values);
    most = Math.max(most, end);
    return at;
  }

  return {
    ids,
    target,
    scratch,
    lasting(values) {
      end = most;
      return scratch(values);
    },
    place(tensor) {
      const { buffer, offset, rows, cols, stride } = tensor;
      if (buffer.kind !== "state") return target(tensor);
      if (plan.layout[buffer.index].grows === true) {
        throw new KernelError("backend", "a slot that grows cannot be read as an ordinary tensor");
      }
      const values = (rows - 1) * stride + cols;
      const to = scratch(values);
      copies.push({ slot: buffer.index, from: offset, to, values });
      return to;
    },
    copies: () => copies,
    output: (index) => outputs[index],
    beginCall() {
      end = scratchStart;
      copies = [];
    },
    size: () => most,
  };
}

/**
 * The one buffer behind all plans of a backend. Runs follow each other and nothing in it outlives a run, so every
 * plan uses the same memory; it grows to the largest.
 */
export interface Arena {
  /** @throws KernelError `out-of-memory` */
  atLeast(values: number): Promise<GPUBuffer>;
}

/** An arena without memory. */
export function createArena(gpu: GpuDevice, allocator: Allocator): Arena {
  let current: Allocation | null = null;
  return {
    async atLeast(values) {
      const bytes = Math.max(16, values * 4);
      if (current !== null && current.bytes >= bytes) return current.buffer;
      if (bytes > gpu.maxBindingBytes) {
        throw new KernelError(
          "out-of-memory",
          `the plan's activations need ${bytes} bytes, this GPU binds ${gpu.maxBindingBytes} at most: run fewer tokens or sequences at once`,
          { bytes, limit: gpu.maxBindingBytes },
        );
      }
      current?.release();
      current = null;
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      current = await allocator.allocateChecked("activations", bytes, usage, "workspace");
      return current.buffer;
    },
  };
}
