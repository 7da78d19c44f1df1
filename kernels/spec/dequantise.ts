import { packedRowBytes, WEIGHT_BLOCKS, type WeightDType } from "./dtype.ts";

const oneF32 = new Float32Array(1);
const bitsOfOne = new Uint32Array(oneF32.buffer);

/** The value of an IEEE 754 binary16 bit pattern; exact, as every f16 is an f32. */
export function f16ToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  // Rebiased from 15 to 127: the f32 with the same value, by its bits.
  bitsOfOne[0] = ((bits & 0x8000) << 16) | ((exponent + 112) << 23) | (fraction << 13);
  return oneF32[0];
}

/** Unpacks the block at byte `at` into `out` from `first` on. */
type UnpackBlock = (packed: DataView, at: number, out: Float32Array, first: number) => void;

const UNPACK: Readonly<Record<"q8_0" | "q4_0" | "q4_k" | "q5_k" | "q6_k", UnpackBlock>> = {
  q8_0: unpackQ8_0,
  q4_0: unpackQ4_0,
  q4_k: unpackQ4K,
  q5_k: unpackQ5K,
  q6_k: unpackQ6K,
};

/**
 * Unpacks row `row` of a packed matrix into `out`, (cols) f32. Exact for f32, f16 and bf16; of blocks each value is
 * rounded to f32 as ggml's own unpacking does it.
 * @param packed all rows, little endian, `packedRowBytes(dtype, out.length)` bytes each
 */
export function dequantiseRow(
  dtype: WeightDType,
  packed: DataView,
  row: number,
  out: Float32Array,
): void {
  const start = row * packedRowBytes(dtype, out.length);
  switch (dtype) {
    case "f32":
      for (let i = 0; i < out.length; i++) out[i] = packed.getFloat32(start + i * 4, true);
      return;
    case "f16":
      for (let i = 0; i < out.length; i++) out[i] = f16ToF32(packed.getUint16(start + i * 2, true));
      return;
    case "bf16": {
      // bf16 is the upper half of an f32.
      const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
      for (let i = 0; i < out.length; i++) bits[i] = packed.getUint16(start + i * 2, true) << 16;
      return;
    }
    default: {
      const { values, bytes } = WEIGHT_BLOCKS[dtype];
      const unpack = UNPACK[dtype];
      for (let block = 0; block * values < out.length; block++) {
        unpack(packed, start + block * bytes, out, block * values);
      }
    }
  }
}

// The innermost loops of every product with packed weights: nothing imported in them, as bundlers make imports lookups.

function unpackQ8_0(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const values = at + 2;
  for (let j = 0; j < 32; j++) out[first + j] = d * packed.getInt8(values + j);
}

/** Byte j holds value j in its low half and value j + 16 in its high one. */
function unpackQ4_0(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  for (let j = 0; j < 16; j++) {
    const byte = packed.getUint8(at + 2 + j);
    out[first + j] = d * ((byte & 15) - 8);
    out[first + j + 16] = d * ((byte >> 4) - 8);
  }
}

/** d, dmin, 12 bytes of scales and minima, 128 bytes of nibbles: 32 bytes hold one group of 32 low, the next high. */
function unpackQ4K(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const dMin = f16ToF32(packed.getUint16(at + 2, true));
  const round = Math.fround;
  for (let group = 0; group < 8; group++) {
    const { scale, min } = scaleAndMin(packed, at + 4, group);
    const dl = round(d * scale);
    const ml = round(dMin * min);
    const nibbles = at + 16 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let j = 0; j < 32; j++) {
      const q = (packed.getUint8(nibbles + j) >> shift) & 15;
      out[first + group * 32 + j] = round(dl * q) - ml;
    }
  }
}

/** As q4_k, with the fifth bits in 32 bytes before the nibbles: bit g of byte j belongs to value j of group g. */
function unpackQ5K(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const dMin = f16ToF32(packed.getUint16(at + 2, true));
  const round = Math.fround;
  for (let group = 0; group < 8; group++) {
    const { scale, min } = scaleAndMin(packed, at + 4, group);
    const dl = round(d * scale);
    const ml = round(dMin * min);
    const nibbles = at + 48 + (group >> 1) * 32;
    const shift = (group & 1) * 4;
    for (let j = 0; j < 32; j++) {
      const high = (packed.getUint8(at + 16 + j) >> group) & 1;
      const q = ((packed.getUint8(nibbles + j) >> shift) & 15) | (high << 4);
      out[first + group * 32 + j] = round(dl * q) - ml;
    }
  }
}

/** 128 bytes of low nibbles, 64 of upper pairs of bits, 16 int8 scales, d; halves of 128 values, four rows of 32 in each. */
function unpackQ6K(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at + 208, true));
  const round = Math.fround;
  for (let i = 0; i < 256; i++) {
    const half = i >> 7;
    const row = (i >> 5) & 3;
    const j = i & 31;
    const low = packed.getUint8(at + half * 64 + (row & 1) * 32 + j) >> ((row >> 1) * 4);
    const high = packed.getUint8(at + 128 + half * 32 + j) >> (row * 2);
    const q = ((low & 15) | ((high & 3) << 4)) - 32;
    out[first + i] = round(d * packed.getInt8(at + 192 + (i >> 4))) * q;
  }
}

/** The 6-bit scale and minimum of group 0 … 7, out of 12 bytes: the upper two bits of groups 4 … 7 lie with the first four. */
function scaleAndMin(
  packed: DataView,
  at: number,
  group: number,
): { readonly scale: number; readonly min: number } {
  if (group < 4) {
    return { scale: packed.getUint8(at + group) & 63, min: packed.getUint8(at + group + 4) & 63 };
  }
  const low = packed.getUint8(at + group + 4);
  return {
    scale: (low & 15) | ((packed.getUint8(at + group - 4) >> 6) << 4),
    min: (low >> 4) | ((packed.getUint8(at + group) >> 6) << 4),
  };
}
