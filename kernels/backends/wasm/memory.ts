import { KernelError } from "../../spec/errors.ts";
import { FIRST_FREE } from "./module.ts";

const PAGE = 65_536;
/** Cache line, so that threads do not write to the same one in different buffers. */
const ALIGNMENT = 64;
const FULL = 65_536;

/**
 * The one memory of all threads: at most 4 GiB, weights included (docs/decisions/0007-wasm-memory.md). Hands out pieces
 * and takes them back; freed neighbours grow together. WebAssembly memory never shrinks, so peaks stay.
 */
export class SharedArena {
  readonly memory: WebAssembly.Memory;
  readonly #sizes = new Map<number, number>();
  /** Free pieces by address, none touching the next. */
  #free: { address: number; bytes: number }[];

  /** @throws KernelError `out-of-memory` if not even the address space for 1 GiB can be had */
  constructor() {
    this.memory = reserve();
    const bytes = this.memory.buffer.byteLength - FIRST_FREE;
    this.#free = bytes > 0 ? [{ address: FIRST_FREE, bytes }] : [];
  }

  /**
   * An address, a multiple of 64; the bytes are zero.
   * @throws KernelError `out-of-memory` beyond what WebAssembly can address, or the machine has
   */
  allocate(bytes: number, what: string): number {
    const wanted = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    let piece = this.#free.find((free) => free.bytes >= wanted);
    if (piece === undefined) {
      this.#grow(wanted, what);
      piece = this.#free.find((free) => free.bytes >= wanted);
    }
    if (piece === undefined)
      throw new KernelError("out-of-memory", `${what}: no piece of ${wanted} bytes after growing`);
    const address = piece.address;
    piece.address += wanted;
    piece.bytes -= wanted;
    if (piece.bytes === 0) this.#free = this.#free.filter((free) => free !== piece);
    this.#sizes.set(address, wanted);
    this.bytes(address, wanted).fill(0);
    return address;
  }

  /** Takes a piece back. */
  free(address: number): void {
    const bytes = this.#sizes.get(address);
    if (bytes === undefined) throw new KernelError("backend", `address ${address} is not in use`);
    this.#sizes.delete(address);
    this.#give(address, bytes);
  }

  /** Bytes of a piece in use, with its rounding. */
  sizeOf(address: number): number {
    return this.#sizes.get(address) ?? 0;
  }

  bytes(address: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, count);
  }

  floats(address: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, count);
  }

  words(address: number, count: number): Int32Array {
    return new Int32Array(this.memory.buffer, address, count);
  }

  #grow(wanted: number, what: string): void {
    const size = this.memory.buffer.byteLength;
    const tail = this.#free.at(-1);
    const atEnd = tail !== undefined && tail.address + tail.bytes === size ? tail.bytes : 0;
    const missing = wanted - atEnd;
    try {
      this.memory.grow(Math.ceil(missing / PAGE));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new KernelError(
        "out-of-memory",
        `${what} needs ${wanted} bytes, and ${size} are in use; WebAssembly reaches 4 GiB at most. Use a smaller or more ` +
          "strongly quantized model, or WebGPU",
        { wanted, inUse: size },
      );
    }
    this.#give(size, this.memory.buffer.byteLength - size);
  }

  #give(address: number, bytes: number): void {
    const at = this.#free.findIndex((free) => free.address > address);
    this.#free.splice(at === -1 ? this.#free.length : at, 0, { address, bytes });
    const merged: { address: number; bytes: number }[] = [];
    for (const piece of this.#free) {
      const last = merged.at(-1);
      if (last !== undefined && last.address + last.bytes === piece.address)
        last.bytes += piece.bytes;
      else merged.push(piece);
    }
    this.#free = merged;
  }
}

/** Asks for 4 GiB of addresses (not of memory), for less where a browser refuses. */
function reserve(): WebAssembly.Memory {
  for (let maximum = FULL; maximum >= FULL / 4; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared: true });
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
  throw new KernelError(
    "out-of-memory",
    "the system refuses address space for 1 GiB of WebAssembly memory",
  );
}
