/** Blocks of 256 values with scales of their own for each 16 or 32. */
import { f16ToF32 } from "../../../kernels/spec/dequantise.ts";
import { IQ4_LEVELS } from "./small-blocks.ts";

/** 16 bytes of 4-bit scale and minimum, 64 of pairs of bits, d, dmin: d · sc · q − dmin · m. */
export function unpackQ2K(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at + 80, true));
  const dMin = f16ToF32(packed.getUint16(at + 82, true));
  for (let i = 0; i < 256; i++) {
    const scales = packed.getUint8(at + (i >> 4));
    const q = pairOfBits(packed, at + 16, i);
    const dl = Math.fround(d * (scales & 15));
    out[first + i] = Math.fround(dl * q) - Math.fround(dMin * (scales >> 4));
  }
}

/** 32 bytes of third bits, 64 of pairs of bits, 12 of 6-bit scales, d: d · (sc − 32) · (q − 4 where the third bit is not set). */
export function unpackQ3K(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at + 108, true));
  for (let i = 0; i < 256; i++) {
    const third = (packed.getUint8(at + (i & 31)) >> (i >> 5)) & 1;
    const q = pairOfBits(packed, at + 32, i) - (third === 1 ? 0 : 4);
    out[first + i] = Math.fround(d * (scaleOfQ3K(packed, at + 96, i >> 4) - 32)) * q;
  }
}

/** d, the upper bits of 8 scales as u16, the lower ones in 4 bytes, nibbles that choose one of 16 levels. */
export function unpackIq4Xs(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const upper = packed.getUint16(at + 2, true);
  for (let i = 0; i < 256; i++) {
    const group = i >> 5;
    const lower = packed.getUint8(at + 4 + (group >> 1)) >> ((group & 1) * 4);
    const scale = ((lower & 15) | (((upper >> (2 * group)) & 3) << 4)) - 32;
    const byte = packed.getUint8(at + 8 + group * 16 + (i & 15));
    out[first + i] =
      Math.fround(d * scale) * (IQ4_LEVELS[(byte >> (((i >> 4) & 1) * 4)) & 15] ?? 0);
  }
}

/** Value i of 256: halves of 128 values in 32 bytes each, four rows of 32 a half, two bits a row. */
function pairOfBits(packed: DataView, at: number, i: number): number {
  return (packed.getUint8(at + (i >> 7) * 32 + (i & 31)) >> (((i >> 5) & 3) * 2)) & 3;
}

/** Scale 0 … 15: four lower bits in bytes 0 … 7 (low halves first), two upper bits in bytes 8 … 11. */
function scaleOfQ3K(packed: DataView, at: number, group: number): number {
  const lower = packed.getUint8(at + (group & 7)) >> ((group >> 3) * 4);
  const upper = packed.getUint8(at + 8 + (group & 3)) >> ((group >> 2) * 2);
  return (lower & 15) | ((upper & 3) << 4);
}
