import { KernelError } from "../../spec/errors.ts";
import { slotSize, type StateSlot } from "../../spec/tensor.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import type { Readback } from "./readback.ts";

/** Tokens that the first buffer has room for; each next one has twice as many. */
const FIRST_TOKENS = 256;

/**
 * A slot that grows: one buffer of (B, room) rows, which a larger one replaces when it is full. A row is the slot's shape
 * of one token in u32 words: an f32 each, or two f16 (the last dimension padded to an even number).
 */
export interface GrowingSlot {
  /** Tokens of each sequence that the buffer has room for. */
  readonly room: number;
  readonly buffer: GPUBuffer;
  /**
   * Makes room; `filled` tokens of each sequence are kept.
   * @throws KernelError `out-of-memory`, `device-lost`
   */
  reserve(tokens: number, filled: Int32Array): Promise<void>;
  /** (end - from, slotSize): the tokens `from` … `end - 1` of a sequence. */
  read(sequence: number, from: number, end: number): Promise<Float32Array>;
  /** Makes the sequence the given tokens, (tokens, slotSize), for which there must be room. */
  write(sequence: number, values: Float32Array): void;
  /** Makes the sequence the first tokens of one of another slot of this shape; there must be room. */
  copyFrom(
    encoder: GPUCommandEncoder,
    sequence: number,
    from: GrowingSlot,
    fromSequence: number,
    tokens: number,
  ): void;
  release(): void;
}

/** Words of one token's row. */
export function rowWords(slot: StateSlot): number {
  if (slot.dtype !== "f16") return slotSize(slot);
  const last = lastDim(slot);
  return (slotSize(slot) / last) * Math.ceil(last / 2);
}

/** An empty slot, of a token's room: bindings must not be empty. @throws KernelError `out-of-memory` */
export function createGrowingSlot(
  gpu: GpuDevice,
  allocator: Allocator,
  readback: Readback,
  slot: StateSlot,
  batch: number,
): GrowingSlot {
  const rowBytes = rowWords(slot) * 4;
  const most = Math.floor(gpu.maxBindingBytes / (batch * rowBytes));
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const bytesOf = (tokens: number): number => batch * tokens * rowBytes;
  let room = 1;
  let current: Allocation = allocator.allocate(slot.name, bytesOf(room), usage, "states");

  return {
    get room() {
      return room;
    },
    get buffer() {
      return current.buffer;
    },
    async reserve(tokens, filled) {
      if (tokens <= room) return;
      if (tokens > most) {
        throw new KernelError(
          "out-of-memory",
          `${slot.name}: ${tokens} tokens of ${batch} sequences need ${bytesOf(tokens)} bytes, this GPU binds ` +
            `${gpu.maxBindingBytes} at most: keep the context below ${most + 1} tokens, or take the WASM backend`,
          { tokens, most, limit: gpu.maxBindingBytes },
        );
      }
      const wanted = Math.min(most, Math.max(tokens, FIRST_TOKENS, 2 * room));
      const next = await allocator.allocateChecked(slot.name, bytesOf(wanted), usage, "states");
      const encoder = gpu.device.createCommandEncoder({ label: `grow ${slot.name}` });
      filled.forEach((count, b) => {
        const [from, to] = [b * room * rowBytes, b * wanted * rowBytes];
        const bytes = count * rowBytes;
        if (bytes > 0) encoder.copyBufferToBuffer(current.buffer, from, next.buffer, to, bytes);
      });
      gpu.device.queue.submit([encoder.finish()]);
      current.release();
      current = next;
      room = wanted;
    },
    async read(sequence, from, end) {
      if (from === end) return new Float32Array(0);
      const [words] = await readback.submitAndRead(
        gpu.device.createCommandEncoder({ label: `read ${slot.name}` }),
        [
          {
            buffer: current.buffer,
            offset: (sequence * room + from) * rowBytes,
            bytes: (end - from) * rowBytes,
          },
        ],
      );
      return slot.dtype === "f16" ? unpackHalves(words, lastDim(slot)) : words;
    },
    write(sequence, values) {
      const words =
        slot.dtype === "f16" ? packHalves(values, lastDim(slot)) : new Float32Array(values);
      gpu.device.queue.writeBuffer(current.buffer, sequence * room * rowBytes, words);
    },
    copyFrom(encoder, sequence, from, fromSequence, tokens) {
      if (tokens === 0) return;
      const [start, end] = [fromSequence * from.room * rowBytes, sequence * room * rowBytes];
      encoder.copyBufferToBuffer(from.buffer, start, current.buffer, end, tokens * rowBytes);
    },
    release: () => current.release(),
  };
}

function lastDim({ shape }: StateSlot): number {
  return shape.at(-1) ?? 1;
}

/** Rows of `cols` values as f16, each padded with a zero to a whole number of words. Bytes: Dawn knows no Float16Array. */
function packHalves(values: Float32Array, cols: number): Uint8Array<ArrayBuffer> {
  const stride = 2 * Math.ceil(cols / 2);
  const halves = new Float16Array((values.length / cols) * stride);
  for (let from = 0, to = 0; from < values.length; from += cols, to += stride)
    halves.set(values.subarray(from, from + cols), to);
  return new Uint8Array(halves.buffer);
}

/** The way back, from words as they were read. */
function unpackHalves(words: Float32Array, cols: number): Float32Array {
  const stride = 2 * Math.ceil(cols / 2);
  const halves = new Float16Array(words.buffer, words.byteOffset, 2 * words.length);
  const values = new Float32Array((halves.length / stride) * cols);
  for (let from = 0, to = 0; from < halves.length; from += stride, to += cols)
    values.set(halves.subarray(from, from + cols), to);
  return values;
}
