import type { StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { GrownRows } from "../../spec/reference.ts";
import { checkFirstRow, checkStateValues } from "../../spec/state-values.ts";
import { slotSize, type StateLayout, type StateSlot } from "../../spec/tensor.ts";

/** Rows of one sequence in a slot that grows; the array is longer than what is filled. */
type Rows = Float32Array | Float16Array;

/** State slots as plain arrays. */
export class ReferenceState implements StateBuffers {
  readonly batch: number;
  readonly layout: StateLayout;
  readonly positions: Int32Array;
  /** (B, slotSize) a slot; empty for one that grows. */
  readonly arrays: readonly Float32Array[];
  /** A row array for each sequence of a slot that grows; none for others. */
  readonly #grown: Rows[][];
  readonly #forget: (state: ReferenceState) => void;

  constructor(layout: StateLayout, batch: number, forget: (state: ReferenceState) => void) {
    this.batch = batch;
    this.layout = layout;
    this.positions = new Int32Array(batch);
    this.arrays = layout.map(
      (slot) => new Float32Array(slot.grows === true ? 0 : batch * slotSize(slot)),
    );
    this.#grown = layout.map((slot) =>
      slot.grows === true ? Array.from({ length: batch }, () => emptyRows(slot, 0)) : [],
    );
    this.#forget = forget;
  }

  get bytes(): number {
    const bytesOf = (sum: number, array: Rows): number => sum + array.byteLength;
    return this.arrays.reduce(bytesOf, 0) + this.#grown.flat().reduce(bytesOf, 0);
  }

  /** The first `count` rows of a slot that grows; more are added where there are fewer. */
  grown(index: number, sequence: number, count: number): GrownRows {
    const slot = this.#slot(index);
    const width = slotSize(slot);
    let rows = this.#rows(index, sequence);
    if (rows.length < count * width) {
      const longer = emptyRows(slot, Math.max(count, 2 * (rows.length / width)) * width);
      longer.set(rows);
      this.#grown[index][sequence] = longer;
      rows = longer;
    }
    return {
      rows: Array.from({ length: count }, (_, row) =>
        rows.subarray(row * width, (row + 1) * width),
      ),
      store: (token, values) => rows.set(values, token * width),
    };
  }

  /** @throws KernelError `shape` */
  read(sequence: number, from: number): Float32Array[] {
    const position = this.#position(sequence);
    checkFirstRow(from, position);
    return this.layout.map((slot, index) => {
      const size = slotSize(slot);
      return slot.grows === true
        ? Float32Array.from(this.#rows(index, sequence).subarray(from * size, position * size))
        : this.arrays[index].slice(sequence * size, (sequence + 1) * size);
    });
  }

  /** @throws KernelError `shape` */
  write(sequence: number, values: readonly Float32Array[], position: number): void {
    this.#position(sequence);
    checkStateValues(this.layout, values, position);
    this.layout.forEach((slot, index) => {
      const size = slotSize(slot);
      if (slot.grows === true) {
        const rows = emptyRows(slot, position * size);
        rows.set(values[index]);
        this.#grown[index][sequence] = rows;
      } else this.arrays[index].set(values[index], sequence * size);
    });
    this.positions[sequence] = position;
  }

  release(): void {
    this.#forget(this);
  }

  #slot(index: number): StateSlot {
    const slot = this.layout.at(index);
    if (slot === undefined) throw new KernelError("shape", `the states have no slot ${index}`);
    return slot;
  }

  #rows(index: number, sequence: number): Rows {
    const rows = this.#grown.at(index)?.at(sequence);
    if (rows === undefined)
      throw new KernelError("shape", `slot ${index} of sequence ${sequence} does not grow`);
    return rows;
  }

  #position(sequence: number): number {
    const position = sequence >= 0 ? this.positions.at(sequence) : undefined;
    if (position === undefined)
      throw new KernelError("shape", `sequence ${sequence} of a state of ${this.batch}`);
    return position;
  }
}

function emptyRows({ dtype }: StateSlot, values: number): Rows {
  return dtype === "f16" ? new Float16Array(values) : new Float32Array(values);
}
