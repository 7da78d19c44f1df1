import type { Backend, StateBuffers } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import type { StateLayout } from "../../spec/tensor.ts";

/** States in the shared memory, one piece a slot. */
export class WasmState implements StateBuffers {
  readonly backend: Backend;
  readonly layout: StateLayout;
  readonly batch: number;
  readonly positions: Int32Array;
  readonly #addresses: readonly number[];
  #free: (() => void) | null;

  constructor(
    backend: Backend,
    layout: StateLayout,
    batch: number,
    addresses: readonly number[],
    free: () => void,
  ) {
    this.backend = backend;
    this.layout = layout;
    this.batch = batch;
    this.positions = new Int32Array(batch);
    this.#addresses = addresses;
    this.#free = free;
  }

  /** @throws KernelError `backend` after `release`, or for a slot that is not there */
  address(slot: number): number {
    const address = this.#addresses[slot];
    if (this.#free === null || address === undefined) {
      throw new KernelError(
        "backend",
        this.#free === null ? "the states were released" : `the states have no slot ${slot}`,
      );
    }
    return address;
  }

  release(): void {
    this.#free?.();
    this.#free = null;
  }
}
