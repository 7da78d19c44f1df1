/**
 * Blocks of 256 values in which groups of 8 or 4 neighbours are entries of a codebook, with signs apart (iq2, iq3) or
 * moved by an eighth (iq1). Groups of 32 or 16 values have scales of their own.
 */
import { f16ToF32 } from "../../../kernels/spec/dequantise.ts";
import { codebook } from "./codebooks.ts";

/** Sign bits of 8 values from 7: the eighth makes their number even. */
function evenSigns(seven: number): number {
  let parity = 0;
  for (let bits = seven; bits !== 0; bits >>= 1) parity ^= bits & 1;
  return seven | (parity << 7);
}

function signed(value: number, signs: number, i: number): number {
  return (signs >> i) & 1 ? -value : value;
}

/** For each 32 values: four bytes of entries, then 4 × 7 sign bits and a 4-bit scale as u32. d · (½ + sc) / 4. */
export function unpackIq2Xxs(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const entries = codebook("iq2_xxs");
  for (let i = 0; i < 256; i++) {
    const group = at + 2 + (i >> 5) * 8;
    const rest = packed.getUint32(group + 4, true);
    const eighth = (i >> 3) & 3;
    const entry = packed.getUint8(group + eighth);
    const scale = Math.fround(Math.fround(d * (0.5 + (rest >>> 28))) * 0.25);
    const signs = evenSigns((rest >>> (7 * eighth)) & 127);
    out[first + i] = scale * signed(entries[entry * 8 + (i & 7)] ?? 0, signs, i & 7);
  }
}

/** For each 8 values a u16: 9 bits of entry, 7 of signs; then a 4-bit scale for each 16. */
export function unpackIq2Xs(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const entries = codebook("iq2_xs");
  for (let i = 0; i < 256; i++) {
    const word = packed.getUint16(at + 2 + (i >> 3) * 2, true);
    const scale = nibbleScale(packed, at + 66, i >> 4);
    out[first + i] =
      Math.fround(Math.fround(d * (0.5 + scale)) * 0.25) *
      signed(entries[(word & 511) * 8 + (i & 7)] ?? 0, evenSigns(word >> 9), i & 7);
  }
}

/** 32 lower bytes of entries, 32 of signs, 8 with their upper two bits, then a 4-bit scale for each 16. */
export function unpackIq2S(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const entries = codebook("iq2_s");
  for (let i = 0; i < 256; i++) {
    const eighth = i >> 3;
    const upper = (packed.getUint8(at + 66 + (eighth >> 2)) >> ((eighth & 3) * 2)) & 3;
    const entry = packed.getUint8(at + 2 + eighth) | (upper << 8);
    const scale = nibbleScale(packed, at + 74, i >> 4);
    const signs = packed.getUint8(at + 34 + eighth);
    out[first + i] =
      Math.fround(Math.fround(d * (0.5 + scale)) * 0.25) *
      signed(entries[entry * 8 + (i & 7)] ?? 0, signs, i & 7);
  }
}

/** 64 bytes of entries of 4 values, then for each 32 values 4 × 7 sign bits and a 4-bit scale as u32. d · (½ + sc) / 2. */
export function unpackIq3Xxs(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const entries = codebook("iq3_xxs");
  for (let i = 0; i < 256; i++) {
    const rest = packed.getUint32(at + 66 + (i >> 5) * 4, true);
    const entry = packed.getUint8(at + 2 + (i >> 2));
    const scale = Math.fround(Math.fround(d * (0.5 + (rest >>> 28))) * 0.5);
    const signs = evenSigns((rest >>> (7 * ((i >> 3) & 3))) & 127);
    out[first + i] = scale * signed(entries[entry * 4 + (i & 3)] ?? 0, signs, i & 7);
  }
}

/** 64 lower bytes of entries of 4 values, 8 with their ninth bits, 32 of signs, then a 4-bit scale for each 32. d · (1 + 2 sc). */
export function unpackIq3S(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const entries = codebook("iq3_s");
  for (let i = 0; i < 256; i++) {
    const quarter = i >> 2;
    const ninth = (packed.getUint8(at + 66 + (quarter >> 3)) >> (quarter & 7)) & 1;
    const entry = packed.getUint8(at + 2 + quarter) | (ninth << 8);
    const scale = Math.fround(d * (1 + 2 * nibbleScale(packed, at + 106, i >> 5)));
    const signs = packed.getUint8(at + 74 + (i >> 3));
    out[first + i] = scale * signed(entries[entry * 4 + (i & 3)] ?? 0, signs, i & 7);
  }
}

/** 32 lower bytes of entries, then for each 32 values a u16: 4 × 3 upper bits, a 3-bit scale, the direction of the eighth. */
export function unpackIq1S(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const entries = codebook("iq1_s");
  for (let i = 0; i < 256; i++) {
    const rest = packed.getUint16(at + 34 + (i >> 5) * 2, true);
    const upper = (rest >> (3 * ((i >> 3) & 3))) & 7;
    const entry = packed.getUint8(at + 2 + (i >> 3)) | (upper << 8);
    const scale = Math.fround(d * (2 * ((rest >> 12) & 7) + 1));
    const delta = rest & 0x8000 ? -0.125 : 0.125;
    out[first + i] = scale * ((entries[entry * 8 + (i & 7)] ?? 0) + delta);
  }
}

/** As iq1_s with a 3-bit scale for each 16 values; the f16 scale lies in the upper 4 bits of the four words of scales. */
export function unpackIq1M(packed: DataView, at: number, out: Float32Array, first: number): void {
  const entries = codebook("iq1_s");
  let bits = 0;
  for (let word = 0; word < 4; word++)
    bits |= (packed.getUint16(at + 48 + word * 2, true) >> 12) << (4 * word);
  const d = f16ToF32(bits);
  for (let i = 0; i < 256; i++) {
    const eighth = i >> 3;
    const high = packed.getUint8(at + 32 + (eighth >> 1)) >> ((eighth & 1) * 4);
    const entry = packed.getUint8(at + eighth) | ((high & 7) << 8);
    const scales = packed.getUint16(at + 48 + (i >> 6) * 2, true);
    const scale = Math.fround(d * (2 * ((scales >> (3 * ((i >> 4) & 3))) & 7) + 1));
    const delta = high & 8 ? -0.125 : 0.125;
    out[first + i] = scale * ((entries[entry * 8 + (i & 7)] ?? 0) + delta);
  }
}

/** 4-bit scale `group`, low halves first. */
function nibbleScale(packed: DataView, at: number, group: number): number {
  return (packed.getUint8(at + (group >> 1)) >> ((group & 1) * 4)) & 15;
}
