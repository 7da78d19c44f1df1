/**
 * Values between element types, in pieces of whole rows. All formats that are read here are little endian, and so is
 * every machine that Tarn runs on; typed arrays are laid over the bytes directly.
 */
import {
  Q8_0_BLOCK,
  Q8_0_BLOCK_BYTES,
  WEIGHT_BLOCKS,
  type WeightDType,
} from "../../kernels/spec/dtype.ts";
import { BLOCK_TYPES, isBlockDType, type BlockDType } from "./blocks/block-types.ts";
import { f16Table, f32ToBf16, f32ToF16 } from "./f16.ts";
import type { EncodedDType, SourceDType } from "./source.ts";

/** Bytes of `count` stored values, which must be whole blocks. */
export function storedBytes(dtype: SourceDType, count: number): number {
  if (isBlockDType(dtype)) {
    const { values, bytes } = BLOCK_TYPES[dtype];
    return (count / values) * bytes;
  }
  switch (dtype) {
    case "f64":
    case "i64":
    case "u64":
      return count * 8;
    case "f32":
    case "i32":
    case "u32":
      return count * 4;
    case "f16":
    case "bf16":
    case "i16":
    case "u16":
      return count * 2;
    case "i8":
    case "u8":
    case "bool":
      return count;
  }
}

/** Values in a block of the type; 1 for those without blocks. */
export function blockValues(dtype: SourceDType): number {
  return isBlockDType(dtype) ? BLOCK_TYPES[dtype].values : 1;
}

/** Types whose values are numbers that can become weights. */
export type FloatDType = WeightDType | BlockDType;

/** Whether values of this type can become weights. */
export function isFloatDType(dtype: SourceDType): dtype is FloatDType {
  return dtype === "f32" || dtype === "f16" || dtype === "bf16" || isBlockDType(dtype);
}

/** Whether backends read weights of this type as they are. */
export function isWeightDType(dtype: SourceDType): dtype is WeightDType {
  return Object.hasOwn(WEIGHT_BLOCKS, dtype);
}

/** Unpacks `count` values into a fresh array. Exact but for blocks, whose values are rounded to f32. */
export function decodeF32(dtype: FloatDType, bytes: Uint8Array, count: number): Float32Array {
  const out = new Float32Array(count);
  switch (dtype) {
    case "f32":
      new Uint8Array(out.buffer).set(bytes.subarray(0, count * 4));
      return out;
    case "bf16": {
      const stored = halves(bytes, count);
      const bits = new Uint32Array(out.buffer);
      for (let i = 0; i < count; i++) bits[i] = (stored[i] ?? 0) << 16;
      return out;
    }
    case "f16": {
      const stored = halves(bytes, count);
      const values = f16Table();
      for (let i = 0; i < count; i++) out[i] = values[stored[i] ?? 0] ?? 0;
      return out;
    }
    case "q8_0": {
      const values = f16Table();
      const q = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let block = 0; block * Q8_0_BLOCK < count; block++) {
        const at = block * Q8_0_BLOCK_BYTES;
        const d = values[(bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)] ?? 0;
        for (let j = 0; j < Q8_0_BLOCK; j++) out[block * Q8_0_BLOCK + j] = d * (q[at + 2 + j] ?? 0);
      }
      return out;
    }
    default: {
      const { values, bytes: blockBytes, unpack } = BLOCK_TYPES[dtype];
      const packed = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      for (let block = 0; block * values < count; block++)
        unpack(packed, block * blockBytes, out, block * values);
      return out;
    }
  }
}

/** Packs values, rounding to nearest; `values.length` must be a multiple of 32 for q8_0. */
export function encodeF32(dtype: EncodedDType, values: Float32Array): Uint8Array {
  switch (dtype) {
    case "f32":
      return new Uint8Array(values.slice().buffer);
    case "f16":
      return new Uint8Array(Uint16Array.from(values, f32ToF16).buffer);
    case "bf16":
      return new Uint8Array(Uint16Array.from(values, f32ToBf16).buffer);
    case "q8_0":
      return quantiseQ8_0(values);
  }
}

/**
 * Blocks of 32: d = max |x| / 127 stored as f16, q = round(x / d) with d before its rounding, halves away from zero.
 * Source: quantize_row_q8_0_ref of ggml (ggml-quants.c), in the same f32 steps.
 */
function quantiseQ8_0(values: Float32Array): Uint8Array {
  const blocks = values.length / Q8_0_BLOCK;
  const out = new Uint8Array(blocks * Q8_0_BLOCK_BYTES);
  for (let block = 0; block < blocks; block++) {
    const from = block * Q8_0_BLOCK;
    let largest = 0;
    for (let j = 0; j < Q8_0_BLOCK; j++)
      largest = Math.max(largest, Math.abs(values[from + j] ?? 0));
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    const scale = f32ToF16(d);
    const at = block * Q8_0_BLOCK_BYTES;
    out[at] = scale & 0xff;
    out[at + 1] = scale >>> 8;
    for (let j = 0; j < Q8_0_BLOCK; j++) {
      const scaled = Math.fround((values[from + j] ?? 0) * inverse);
      // Math.round would take halves upwards, -0.5 to 0.
      out[at + 2 + j] = scaled < 0 ? -Math.floor(-scaled + 0.5) : Math.floor(scaled + 0.5);
    }
  }
  return out;
}

function halves(bytes: Uint8Array, count: number): Uint16Array {
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  return new Uint16Array(aligned.buffer, aligned.byteOffset, count);
}
