import {
  packedRowBytes,
  Q8_0_BLOCK,
  Q8_0_BLOCK_BYTES,
  WEIGHT_BLOCKS,
  type WeightDType,
} from "../../spec/dtype.ts";
import type { WeightSpec } from "../../spec/tensor.ts";
import { rowWords, scaleWords } from "../../wgsl/packed.ts";

/** Rows as a GPU buffer holds them. */
export interface GpuRows {
  readonly values: Uint8Array<ArrayBuffer>;
  /** What blocks share; null where the dtype has no blocks. */
  readonly scales: Uint8Array<ArrayBuffer> | null;
}

/** Packed rows of a file → rows as unpack.wgsl reads them: padded to 16 bytes, what blocks share apart from their values. */
export function repack(
  { dtype, cols, use }: WeightSpec,
  packed: Uint8Array,
  rows: number,
): GpuRows {
  switch (dtype) {
    case "q8_0":
      return repackQ8(packed, rows, cols);
    case "q4_0":
    case "q4_k":
    case "q5_k":
    case "q6_k":
      return repackNibbles(dtype, packed, rows, cols);
    default: {
      const from = packedRowBytes(dtype, cols);
      const to = use === "vector" ? from : rowWords(dtype, cols) * 4;
      if (from === to) return { values: ownBytes(packed), scales: null };
      const values = new Uint8Array(rows * to);
      for (let row = 0; row < rows; row += 1)
        values.set(packed.subarray(row * from, (row + 1) * from), row * to);
      return { values, scales: null };
    }
  }
}

function repackQ8(packed: Uint8Array, rows: number, cols: number): GpuRows {
  const blocks = cols / Q8_0_BLOCK;
  const scaleBytes = scaleWords("q8_0", cols) * 4;
  const values = new Uint8Array(rows * cols);
  const scales = new Uint8Array(rows * scaleBytes);
  for (let row = 0; row < rows; row += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const at = (row * blocks + block) * Q8_0_BLOCK_BYTES;
      scales[row * scaleBytes + 2 * block] = packed[at];
      scales[row * scaleBytes + 2 * block + 1] = packed[at + 1];
      values.set(packed.subarray(at + 2, at + Q8_0_BLOCK_BYTES), row * cols + block * Q8_0_BLOCK);
    }
  }
  return { values, scales };
}

/** Puts the block at byte `at` into words of values and of what they share, from `value` and `scale` on. */
type RepackBlock = (
  packed: DataView,
  at: number,
  values: DataView,
  value: number,
  scales: DataView,
  scale: number,
) => void;

const REPACK: Readonly<Record<"q4_0" | "q4_k" | "q5_k" | "q6_k", RepackBlock>> = {
  q4_0: repackQ4_0,
  q4_k: repackQ4K,
  q5_k: repackQ5K,
  q6_k: repackQ6K,
};

function repackNibbles(
  dtype: keyof typeof REPACK & WeightDType,
  packed: Uint8Array,
  rows: number,
  cols: number,
): GpuRows {
  const block = WEIGHT_BLOCKS[dtype];
  const repackBlock = REPACK[dtype];
  const blocks = cols / block.values;
  const scaleBytes = scaleWords(dtype, cols) * 4;
  // The last f16 of a row of q4_0 may be the first of a word.
  const scaleStep = dtype === "q4_0" ? 2 : scaleBytes / blocks;
  const values = new Uint8Array((rows * cols) / 2);
  const scales = new Uint8Array(rows * scaleBytes);
  const from = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const toValues = new DataView(values.buffer);
  const toScales = new DataView(scales.buffer);
  for (let row = 0; row < rows; row += 1) {
    for (let index = 0; index < blocks; index += 1) {
      const at = row * blocks + index;
      const scale = row * scaleBytes + index * scaleStep;
      repackBlock(from, at * block.bytes, toValues, (at * block.values) / 2, toScales, scale);
    }
  }
  return { values, scales };
}

const NIBBLES = 0x0f0f0f0f;

function repackQ4_0(
  packed: DataView,
  at: number,
  values: DataView,
  value: number,
  scales: DataView,
  scale: number,
): void {
  scales.setUint16(scale, packed.getUint16(at, true), true);
  for (let word = 0; word < 4; word += 1) {
    const from = at + 2 + (word & 1) * 8;
    const shift = (word >> 1) * 4;
    const low = (packed.getUint32(from, true) >>> shift) & NIBBLES;
    const high = (packed.getUint32(from + 4, true) >>> shift) & NIBBLES;
    values.setUint32(value + 4 * word, low | (high << 4), true);
  }
}

function repackQ4K(
  packed: DataView,
  at: number,
  values: DataView,
  value: number,
  scales: DataView,
  scale: number,
): void {
  repackScales(packed, at, scales, scale);
  repackGroups(packed, at + 16, values, value);
}

function repackQ5K(
  packed: DataView,
  at: number,
  values: DataView,
  value: number,
  scales: DataView,
  scale: number,
): void {
  repackScales(packed, at, scales, scale);
  repackGroups(packed, at + 48, values, value);
  for (let group = 0; group < 8; group += 1) {
    let upper = 0;
    for (let i = 0; i < 8; i += 1) {
      upper |= ((packed.getUint32(at + 16 + 4 * i, true) >>> group) & 0x01010101) << i;
    }
    scales.setUint32(scale + 20 + 4 * group, upper, true);
  }
}

function repackQ6K(
  packed: DataView,
  at: number,
  values: DataView,
  value: number,
  scales: DataView,
  scale: number,
): void {
  scales.setUint32(scale, packed.getUint16(at + 208, true), true);
  for (let word = 0; word < 4; word += 1) {
    scales.setUint32(scale + 4 + 4 * word, packed.getUint32(at + 192 + 4 * word, true), true);
  }
  for (let group = 0; group < 8; group += 1) {
    const half = group >> 2;
    const row = group & 3;
    const lows = at + half * 64 + (row & 1) * 32;
    repackGroup(packed, lows, (row >> 1) * 4, values, value + group * 16);
    for (let side = 0; side < 2; side += 1) {
      let upper = 0;
      for (let i = 0; i < 4; i += 1) {
        const word = packed.getUint32(at + 128 + half * 32 + side * 16 + 4 * i, true);
        upper |= ((word >>> (2 * row)) & 0x03030303) << (2 * i);
      }
      scales.setUint32(scale + 20 + 8 * group + 4 * side, upper, true);
    }
  }
}

/** d, dmin and the 6-bit scales and minima of q4_k and q5_k, a byte each. */
function repackScales(packed: DataView, at: number, scales: DataView, scale: number): void {
  scales.setUint32(scale, packed.getUint32(at, true), true);
  const first = packed.getUint32(at + 4, true);
  const second = packed.getUint32(at + 8, true);
  const third = packed.getUint32(at + 12, true);
  scales.setUint32(scale + 4, first & 0x3f3f3f3f, true);
  scales.setUint32(scale + 8, (third & NIBBLES) | ((first >>> 2) & 0x30303030), true);
  scales.setUint32(scale + 12, second & 0x3f3f3f3f, true);
  scales.setUint32(scale + 16, ((third >>> 4) & NIBBLES) | ((second >>> 2) & 0x30303030), true);
}

/** The nibbles of q4_k and q5_k: 32 bytes hold one group of 32 low, the next high. */
function repackGroups(packed: DataView, at: number, values: DataView, value: number): void {
  for (let group = 0; group < 8; group += 1) {
    repackGroup(packed, at + (group >> 1) * 32, (group & 1) * 4, values, value + group * 16);
  }
}

/** 32 values, the low or (`shift` = 4) the high nibbles of 32 bytes. */
function repackGroup(
  packed: DataView,
  at: number,
  shift: number,
  values: DataView,
  value: number,
): void {
  for (let word = 0; word < 4; word += 1) {
    const low = (packed.getUint32(at + 8 * word, true) >>> shift) & NIBBLES;
    const high = (packed.getUint32(at + 8 * word + 4, true) >>> shift) & NIBBLES;
    values.setUint32(value + 4 * word, low | (high << 4), true);
  }
}

/** `writeBuffer` takes no shared memory; a copy is made only where the bytes are shared. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes);
}
