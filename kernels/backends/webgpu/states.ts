import { KernelError } from "../../spec/errors.ts";
import type { StateBuffers } from "../../spec/backend.ts";
import { checkCopy, checkFirstRow, checkStateValues } from "../../spec/state-values.ts";
import { slotSize, type StateLayout } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import { createFixedSlots, type SlotPlace } from "./fixed-slots.ts";
import { createGrowingSlot, type GrowingSlot } from "./growing-slot.ts";
import type { Readback } from "./readback.ts";
import { createResting } from "./resting.ts";
import type { InTurn } from "./turns.ts";

/** The GPU's side of a `StateBuffers`. */
export interface GpuState {
  /** Tokens of each sequence that every slot that grows has room for. */
  room(): number;
  /** All slots that do not grow. */
  readonly fixed: readonly Allocation[];
  /** Where a slot lies now; slots that grow move to other buffers. */
  place(slot: number): SlotPlace;
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
  readonly layout: StateLayout;
  readonly gpuState: GpuState;
  /** Of all slots that do not grow. */
  readonly memory: readonly Allocation[];
  /** In the layout's order: (B, slotSize) f32, and slots that grow. */
  readonly slots: readonly (SlotPlace | GrowingSlot)[];
  /** Why there is no memory for it; null if all is well. */
  readonly problem: Promise<KernelError | null>;
  release(): void;
}

/** No states yet. */
export function createStates(
  gpu: GpuDevice,
  allocator: Allocator,
  readback: Readback,
  inTurn: InTurn,
): States {
  const known = new WeakMap<StateBuffers, Held>();
  const resting = createResting<Held>(gpu, allocator);

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

  function allocateState(layout: StateLayout, batch: number): Held {
    const fixed = createFixedSlots(allocator, layout, batch, gpu.maxBindingBytes);
    const growing: GrowingSlot[] = [];
    const release = (): void => {
      fixed.release();
      for (const slot of growing) slot.release();
    };
    let slots: (SlotPlace | GrowingSlot)[];
    try {
      slots = layout.map((slot, index) => {
        const place = fixed.places[index];
        if (place !== null) return place;
        const made = createGrowingSlot(gpu, allocator, readback, slot, batch);
        growing.push(made);
        return made;
      });
    } catch (error) {
      release();
      throw error;
    }
    return {
      layout,
      memory: fixed.memory,
      slots,
      problem: Promise.all(fixed.memory.map(({ problem }) => problem)).then(
        (problems) => problems.find((problem) => problem !== null) ?? null,
      ),
      gpuState: {
        fixed: fixed.memory,
        room: () => Math.min(...growing.map(({ room }) => room)),
        place(index) {
          const slot = slots[index];
          if (!grows(slot)) return slot;
          return { buffer: slot.buffer, offset: 0, size: slot.buffer.size };
        },
      },
      release,
    };
  }

  /** For the next sequence, once nothing that was asked for before can still touch it. */
  function letRest(own: Held): void {
    for (const allocation of own.memory) allocation.countAs("workspace");
    void inTurn(async () => {
      if ((await own.problem) === null) resting.put(own);
      else own.release();
    });
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
      const own = (batch === 1 ? resting.take(layout) : null) ?? allocateState(layout, batch);
      const state: StateBuffers = {
        batch,
        layout,
        positions: new Int32Array(batch),
        release() {
          if (!known.delete(state)) return;
          if (batch === 1 && !own.slots.some(grows)) letRest(own);
          else own.release();
        },
      };
      known.set(state, own);
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
          if (grows(slot)) return [];
          return [{ buffer: slot.buffer, offset: slot.offset + sequence * bytes, bytes }];
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
          const offset = slot.offset + sequence * array.length * 4;
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
      // Of states of one sequence all that does not grow lies alike.
      const alike = from.batch === 1 && to.batch === 1;
      if (alike) {
        target.memory.forEach(({ buffer, bytes }, index) =>
          encoder.copyBufferToBuffer(source.memory[index].buffer, 0, buffer, 0, bytes),
        );
      }
      target.slots.forEach((slot, index) => {
        const origin = source.slots[index];
        if (grows(slot) && grows(origin))
          slot.copyFrom(encoder, toSequence, origin, fromSequence, position);
        else if (!alike && !grows(slot) && !grows(origin)) {
          const bytes = slotSize(to.layout[index]) * 4;
          const start = origin.offset + fromSequence * bytes;
          const end = slot.offset + toSequence * bytes;
          encoder.copyBufferToBuffer(origin.buffer, start, slot.buffer, end, bytes);
        }
      });
      gpu.device.queue.submit([encoder.finish()]);
      to.positions[toSequence] = position;
    },
  };
}

function grows(slot: SlotPlace | GrowingSlot): slot is GrowingSlot {
  return "room" in slot;
}
