import type { StateSlot } from "../../spec/tensor.ts";
import { slotSize } from "../../spec/tensor.ts";

/** Tokens of a page, as ops/attention/slots.wasm.ts has it. */
const PAGE_TOKENS = 64;

/** The memory that states take pieces of. */
export interface StateMemory {
  /** A zeroed piece. @throws KernelError `out-of-memory` */
  allocate(bytes: number, what: string): number;
  free(address: number): void;
  words(address: number, count: number): Int32Array;
  bytes(address: number, count: number): Uint8Array;
}

/**
 * A slot that grows: pages of tokens, so that more of them are had without moving what is there. A page is (heads,
 * PAGE_TOKENS, headDim), a head being the shape's last dimension: what a kernel reads together lies together. Kernels find
 * pages by the table, (B) addresses of lists of page addresses.
 */
export class GrowingSlot {
  readonly table: number;
  readonly #slot: StateSlot;
  readonly #memory: StateMemory;
  /** Of each sequence, the addresses of its pages. */
  readonly #pages: readonly number[][];
  readonly #lists: { address: number; room: number }[];

  /** No tokens yet. @throws KernelError `out-of-memory` */
  constructor(slot: StateSlot, batch: number, memory: StateMemory) {
    this.#slot = slot;
    this.#memory = memory;
    this.#pages = Array.from({ length: batch }, () => []);
    this.#lists = Array.from({ length: batch }, () => ({ address: 0, room: 0 }));
    this.table = memory.allocate(batch * 4, slot.name);
  }

  /** Adds pages until `tokens` fit. @throws KernelError `out-of-memory`; what was there stays */
  reserve(sequence: number, tokens: number): void {
    const pages = this.#pages[sequence];
    const needed = Math.ceil(tokens / PAGE_TOKENS);
    while (pages.length < needed) {
      if (pages.length === this.#lists[sequence].room) this.#lengthenList(sequence);
      const page = this.#memory.allocate(this.#pageBytes, this.#slot.name);
      const { address } = this.#lists[sequence];
      this.#memory.words(address, pages.length + 1)[pages.length] = page;
      pages.push(page);
    }
  }

  /** (end - from, slotSize): the tokens `from` … `end - 1` of a sequence. */
  read(sequence: number, from: number, end: number): Float32Array {
    const values = new Float32Array((end - from) * slotSize(this.#slot));
    this.#eachHead(sequence, from, end, (head, at) => values.set(head, at));
    return values;
  }

  /** Makes the sequence the given tokens, (tokens, slotSize). @throws KernelError `out-of-memory` */
  write(sequence: number, values: Float32Array, tokens: number): void {
    this.#fit(sequence, tokens);
    this.#eachHead(sequence, 0, tokens, (head, at) =>
      head.set(values.subarray(at, at + head.length)),
    );
  }

  /** Makes the sequence the first tokens of one of another slot of this shape. @throws KernelError `out-of-memory` */
  copyFrom(sequence: number, from: GrowingSlot, fromSequence: number, tokens: number): void {
    this.#fit(sequence, tokens);
    this.#pages[sequence].forEach((page, index) => {
      const source = this.#memory.bytes(from.#pages[fromSequence][index], this.#pageBytes);
      this.#memory.bytes(page, this.#pageBytes).set(source);
    });
  }

  release(): void {
    for (const page of this.#pages.flat()) this.#memory.free(page);
    for (const { address, room } of this.#lists) if (room > 0) this.#memory.free(address);
    this.#memory.free(this.table);
  }

  /** Makes the sequence's pages as many as `tokens` need. @throws KernelError `out-of-memory` */
  #fit(sequence: number, tokens: number): void {
    this.reserve(sequence, tokens);
    const unused = this.#pages[sequence].splice(Math.ceil(tokens / PAGE_TOKENS));
    for (const page of unused) this.#memory.free(page);
  }

  get #pageBytes(): number {
    return PAGE_TOKENS * slotSize(this.#slot) * (this.#slot.dtype === "f16" ? 2 : 4);
  }

  #lengthenList(sequence: number): void {
    const pages = this.#pages[sequence];
    const { address: old, room: oldRoom } = this.#lists[sequence];
    const room = Math.max(16, 2 * oldRoom);
    const address = this.#memory.allocate(room * 4, this.#slot.name);
    this.#memory.words(address, pages.length).set(pages);
    this.#memory.words(this.table, sequence + 1)[sequence] = address;
    this.#lists[sequence] = { address, room };
    if (oldRoom > 0) this.#memory.free(old);
  }

  /** Visits each head of the tokens `from` … `end - 1`, and its place among values of (end - from, slotSize). */
  #eachHead(
    sequence: number,
    from: number,
    end: number,
    visit: (head: Float32Array | Float16Array, at: number) => void,
  ): void {
    const size = slotSize(this.#slot);
    const headDim = this.#slot.shape.at(-1) ?? 1;
    for (let token = from; token < end; token++) {
      const page = this.#pageValues(this.#pages[sequence][Math.floor(token / PAGE_TOKENS)]);
      for (let head = 0; head < size / headDim; head++) {
        const start = (head * PAGE_TOKENS + (token % PAGE_TOKENS)) * headDim;
        visit(page.subarray(start, start + headDim), (token - from) * size + head * headDim);
      }
    }
  }

  #pageValues(page: number): Float32Array | Float16Array {
    const { buffer, byteOffset } = this.#memory.bytes(page, 0);
    const count = PAGE_TOKENS * slotSize(this.#slot);
    return this.#slot.dtype === "f16"
      ? new Float16Array(buffer, byteOffset, count)
      : new Float32Array(buffer, byteOffset, count);
  }
}
