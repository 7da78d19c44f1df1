import type { Backend, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import { checkFirstRow, checkStateValues } from "../../spec/state-values.ts";
import { slotSize, type StateLayout } from "../../spec/tensor.ts";
import { GrowingSlot, type StateMemory } from "./growing-slot.ts";

/** States in the shared memory: a piece a slot, or pages of one that grows. */
export class WasmState implements StateBuffers {
  readonly backend: Backend;
  readonly layout: StateLayout;
  readonly batch: number;
  readonly positions: Int32Array;
  readonly #memory: StateMemory;
  /** Addresses of (B, slotSize) f32, or pages. */
  readonly #slots: (number | GrowingSlot)[] = [];
  /** Where kernels read the positions of a run. */
  readonly #positions: number;
  #isHeld = true;

  /** Zeroed. @throws KernelError `out-of-memory` */
  constructor(backend: Backend, layout: StateLayout, batch: number, memory: StateMemory) {
    this.backend = backend;
    this.layout = layout;
    this.batch = batch;
    this.positions = new Int32Array(batch);
    this.#memory = memory;
    this.#positions = memory.allocate(batch * 4, "positions");
    try {
      for (const slot of layout) {
        this.#slots.push(
          slot.grows === true
            ? new GrowingSlot(slot, batch, memory)
            : memory.allocate(batch * slotSize(slot) * 4, slot.name),
        );
      }
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /**
   * Makes room for a run of `length` tokens a sequence.
   * @throws KernelError `backend` after `release`, `out-of-memory`
   */
  prepare(length: number): void {
    this.#expectHeld();
    for (const slot of this.#slots) {
      if (typeof slot === "number") continue;
      this.positions.forEach((position, b) => slot.reserve(b, position + length));
    }
    this.#memory.words(this.#positions, this.batch).set(this.positions);
  }

  /**
   * What instructions have for a slot, or for the positions: the address of its values, or of its table.
   * @throws KernelError `backend` for a slot that is not there
   */
  address(slot: number | "positions"): number {
    if (slot === "positions") return this.#positions;
    const found = this.#slots.at(slot);
    if (found === undefined) throw new KernelError("backend", `the states have no slot ${slot}`);
    return typeof found === "number" ? found : found.table;
  }

  /** @throws KernelError `backend` after `release`, `shape` */
  read(sequence: number, from: number): Float32Array[] {
    const position = this.#positionOf(sequence);
    checkFirstRow(from, position);
    return this.#slots.map((slot, index) =>
      typeof slot === "number"
        ? this.#values(slot, index, sequence).slice()
        : slot.read(sequence, from, position),
    );
  }

  /** @throws KernelError `backend` after `release`, `shape`, `out-of-memory` */
  write(sequence: number, values: readonly Float32Array[], position: number): void {
    this.#positionOf(sequence);
    checkStateValues(this.layout, values, position);
    // All memory first: a state is written whole or not at all.
    for (const slot of this.#slots) if (typeof slot !== "number") slot.reserve(sequence, position);
    this.#slots.forEach((slot, index) => {
      if (typeof slot === "number") this.#values(slot, index, sequence).set(values[index]);
      else slot.write(sequence, values[index], position);
    });
    this.positions[sequence] = position;
  }

  /**
   * Takes over a sequence of another state of this layout.
   * @throws KernelError `backend` after `release`, `shape`, `out-of-memory`
   */
  copyFrom(sequence: number, from: WasmState, fromSequence: number): void {
    const position = from.#positionOf(fromSequence);
    this.#positionOf(sequence);
    // All memory first: a state is written whole or not at all.
    for (const slot of this.#slots) if (typeof slot !== "number") slot.reserve(sequence, position);
    this.#slots.forEach((slot, index) => {
      const source = from.#slots[index];
      if (typeof slot === "number" && typeof source === "number")
        this.#values(slot, index, sequence).set(from.#values(source, index, fromSequence));
      else if (typeof slot !== "number" && typeof source !== "number")
        slot.copyFrom(sequence, source, fromSequence, position);
    });
    this.positions[sequence] = position;
  }

  release(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    for (const slot of this.#slots) {
      if (typeof slot === "number") this.#memory.free(slot);
      else slot.release();
    }
    this.#memory.free(this.#positions);
  }

  #values(address: number, index: number, sequence: number): Float32Array {
    const size = slotSize(this.layout[index]);
    const { buffer, byteOffset } = this.#memory.bytes(address + sequence * size * 4, 0);
    return new Float32Array(buffer, byteOffset, size);
  }

  #positionOf(sequence: number): number {
    this.#expectHeld();
    const position = sequence >= 0 ? this.positions.at(sequence) : undefined;
    if (position === undefined)
      throw new KernelError("shape", `sequence ${sequence} of a state of ${this.batch}`);
    return position;
  }

  #expectHeld(): void {
    if (!this.#isHeld) throw new KernelError("backend", "the states were released");
  }
}
