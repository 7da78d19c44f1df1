import { KernelError } from "../../spec/errors.ts";
import type { StateBuffers } from "../../spec/backend.ts";
import { checkStateValues } from "../../spec/state-values.ts";
import { slotSize, type StateLayout } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import type { Pipelines } from "./pipelines.ts";
import type { Readback } from "./readback.ts";

/** The GPU's side of a `StateBuffers`. */
export interface GpuState {
  readonly slots: readonly Allocation[];
  /** Why there is no memory for it; null if all is well. */
  readonly problem: Promise<KernelError | null>;
  /** Group 1 of the slot, the same for every pipeline. */
  bindGroup(slot: number): GPUBindGroup;
}

/** The states of a backend. */
export interface States {
  create(layout: StateLayout, batch: number): StateBuffers;
  /** @throws KernelError `backend` for a state of another backend, or a released one; `out-of-memory` */
  use(state: StateBuffers): Promise<GpuState>;
  read(state: StateBuffers, sequence: number): Promise<Float32Array[]>;
  write(
    state: StateBuffers,
    sequence: number,
    values: readonly Float32Array[],
    position: number,
  ): Promise<void>;
}

/** No states yet. */
export function createStates(
  gpu: GpuDevice,
  allocator: Allocator,
  pipelines: Pipelines,
  readback: Readback,
): States {
  const known = new WeakMap<StateBuffers, GpuState>();

  async function use(state: StateBuffers): Promise<GpuState> {
    const found = known.get(state);
    if (found === undefined)
      throw new KernelError("backend", "this state is not on this backend, or was released");
    const problem = await found.problem;
    if (problem !== null) throw problem;
    return found;
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
    use,
    create(layout, batch) {
      gpu.check();
      const slots: Allocation[] = [];
      try {
        for (const slot of layout) {
          const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
          slots.push(allocator.allocate(slot.name, batch * slotSize(slot) * 4, usage, "states"));
        }
      } catch (error) {
        for (const slot of slots) slot.release();
        throw error;
      }
      const groups: GPUBindGroup[] = [];
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
        problem: Promise.all(slots.map((slot) => slot.problem)).then(
          (problems) => problems.find((problem) => problem !== null) ?? null,
        ),
        bindGroup(slot) {
          groups[slot] ??= gpu.device.createBindGroup({
            layout: pipelines.stateLayout,
            entries: [{ binding: 0, resource: { buffer: slots[slot].buffer } }],
          });
          return groups[slot];
        },
      });
      return state;
    },
    async read(state, sequence) {
      gpu.check();
      checkSequence(state, sequence);
      const { slots } = await use(state);
      return readback.submitAndRead(
        gpu.device.createCommandEncoder({ label: "read state" }),
        slots.map(({ buffer }, index) => {
          const bytes = slotSize(state.layout[index]) * 4;
          return { buffer, offset: sequence * bytes, bytes };
        }),
      );
    },
    async write(state, sequence, values, position) {
      gpu.check();
      checkSequence(state, sequence);
      const { slots } = await use(state);
      // All sizes first: a state is written whole or not at all.
      checkStateValues(state.layout, values, position);
      values.forEach((array, index) => {
        gpu.device.queue.writeBuffer(
          slots[index].buffer,
          sequence * array.length * 4,
          new Float32Array(array),
        );
      });
      state.positions[sequence] = position;
    },
  };
}
