import { KernelError } from "../../spec/errors.ts";
import type { StateBuffers } from "../../spec/backend.ts";
import { checkCopy, checkFirstRow, checkStateValues } from "../../spec/state-values.ts";
import { slotSize, type StateLayout } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import { createGrowingSlot, type GrowingSlot } from "./growing-slot.ts";
import type { Readback } from "./readback.ts";

/** The GPU's side of a `StateBuffers`. */
export interface GpuState {
  /** Tokens of each sequence that every slot that grows has room for. */
  room(): number;
  /** The slots that do not grow. */
  readonly fixed: readonly Allocation[];
  /** What stands behind a slot now; slots that grow move to other buffers. */
  buffer(slot: number): GPUBuffer;
}

/** The states of a backend. */
export interface States {
  create(layout: StateLayout, batch: number): StateBuffers;
  /**
   * The state, with room for `length` more tokens.
   * @throws KernelError `backend` for a state of another backend, or a released one; `out-of-memory`, `device-lost`
   */
  use(state: StateBuffers, length: number): Promise<GpuState>;
  read(state: StateBuffers, sequence: number, from: number): Promise<Float32Array[]>;
  write(
    state: StateBuffers,
    sequence: number,
    values: readonly Float32Array[],
    position: number,
  ): Promise<void>;
  /** On the GPU, in the order of the queue. */
  copy(
    from: StateBuffers,
    fromSequence: number,
    to: StateBuffers,
    toSequence: number,
  ): Promise<void>;
}

/** What `create` made. */
interface Held {
  readonly gpuState: GpuState;
  /** Buffers of (B, slotSize) f32, and slots that grow, in the layout's order. */
  readonly slots: readonly (Allocation | GrowingSlot)[];
  /** Why there is no memory for it; null if all is well. */
  readonly problem: Promise<KernelError | null>;
}

/** No states yet. */
export function createStates(gpu: GpuDevice, allocator: Allocator, readback: Readback): States {
  const known = new WeakMap<StateBuffers, Held>();

  async function held(state: StateBuffers): Promise<Held> {
    gpu.check();
    const found = known.get(state);
    if (found === undefined)
      throw new KernelError("backend", "this state is not on this backend, or was released");
    const problem = await found.problem;
    if (problem !== null) throw problem;
    return found;
  }

  /** In room for the furthest sequence, as all share one buffer a slot. */
  async function reserve(state: StateBuffers, { slots }: Held, tokens: number): Promise<void> {
    for (const slot of slots) if (grows(slot)) await slot.reserve(tokens, state.positions);
  }

  function checkSequence(state: StateBuffers, sequence: number): void {
    if (!Number.isInteger(sequence) || sequence < 0 || sequence >= state.batch) {
      throw new KernelError("shape", `sequence ${sequence} of a state of ${state.batch}`, {
        sequence,
        batch: state.batch,
      });
    }
  }

  return {
    async use(state, length) {
      const found = await held(state);
      await reserve(state, found, Math.max(...state.positions) + length);
      return found.gpuState;
    },
    create(layout, batch) {
      gpu.check();
      const slots: (Allocation | GrowingSlot)[] = [];
      try {
        for (const slot of layout) {
          const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
          slots.push(
            slot.grows === true
              ? createGrowingSlot(gpu, allocator, readback, slot, batch)
              : allocator.allocate(slot.name, batch * slotSize(slot) * 4, usage, "states"),
          );
        }
      } catch (error) {
        for (const slot of slots) slot.release();
        throw error;
      }
      const state: StateBuffers = {
        batch,
        layout,
        positions: new Int32Array(batch),
        release() {
          known.delete(state);
          for (const slot of slots) slot.release();
        },
      };
      known.set(state, {
        slots,
        problem: Promise.all(slots.flatMap((slot) => (grows(slot) ? [] : [slot.problem]))).then(
          (problems) => problems.find((problem) => problem !== null) ?? null,
        ),
        gpuState: {
          fixed: slots.filter((slot): slot is Allocation => !grows(slot)),
          room: () => Math.min(...slots.filter(grows).map(({ room }) => room)),
          buffer: (slot) => slots[slot].buffer,
        },
      });
      return state;
    },
    async read(state, sequence, from) {
      checkSequence(state, sequence);
      checkFirstRow(from, state.positions[sequence]);
      const { slots } = await held(state);
      const fixed = await readback.submitAndRead(
        gpu.device.createCommandEncoder({ label: "read state" }),
        slots.flatMap((slot, index) => {
          const bytes = slotSize(state.layout[index]) * 4;
          return grows(slot) ? [] : [{ buffer: slot.buffer, offset: sequence * bytes, bytes }];
        }),
      );
      const values: Float32Array[] = [];
      let next = 0;
      for (const slot of slots) {
        values.push(
          grows(slot) ? await slot.read(sequence, from, state.positions[sequence]) : fixed[next++],
        );
      }
      return values;
    },
    async write(state, sequence, values, position) {
      checkSequence(state, sequence);
      const found = await held(state);
      // All sizes and all memory first: a state is written whole or not at all.
      checkStateValues(state.layout, values, position);
      await reserve(state, found, position);
      found.slots.forEach((slot, index) => {
        const array = values[index];
        if (grows(slot)) slot.write(sequence, array);
        else {
          const offset = sequence * array.length * 4;
          gpu.device.queue.writeBuffer(slot.buffer, offset, new Float32Array(array));
        }
      });
      state.positions[sequence] = position;
    },
    async copy(from, fromSequence, to, toSequence) {
      checkCopy(from, to);
      checkSequence(from, fromSequence);
      checkSequence(to, toSequence);
      const [source, target] = [await held(from), await held(to)];
      const position = from.positions[fromSequence];
      await reserve(to, target, position);
      const encoder = gpu.device.createCommandEncoder({ label: "copy state" });
      target.slots.forEach((slot, index) => {
        const origin = source.slots[index];
        if (grows(slot) && grows(origin))
          slot.copyFrom(encoder, toSequence, origin, fromSequence, position);
        else {
          const bytes = slotSize(to.layout[index]) * 4;
          const [start, end] = [fromSequence * bytes, toSequence * bytes];
          encoder.copyBufferToBuffer(origin.buffer, start, slot.buffer, end, bytes);
        }
      });
      gpu.device.queue.submit([encoder.finish()]);
      to.positions[toSequence] = position;
    },
  };
}

function grows(slot: Allocation | GrowingSlot): slot is GrowingSlot {
  return "room" in slot;
}
