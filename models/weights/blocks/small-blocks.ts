/** Blocks of 32 values: byte j of the nibbles holds value j in its low half and value j + 16 in its high one. */
import { f16ToF32 } from "../../../kernels/spec/dequantise.ts";

/** f16 d, f16 m, nibbles: d · q + m. */
export function unpackQ4_1(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const m = f16ToF32(packed.getUint16(at + 2, true));
  for (let i = 0; i < 32; i++) out[first + i] = Math.fround(d * nibble(packed, at + 4, i)) + m;
}

/** f16 d, the fifth bits as u32, nibbles: d · (q − 16). */
export function unpackQ5_0(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const high = packed.getUint32(at + 2, true);
  for (let i = 0; i < 32; i++) {
    const q = nibble(packed, at + 6, i) | (((high >>> i) & 1) << 4);
    out[first + i] = d * (q - 16);
  }
}

/** f16 d, f16 m, the fifth bits as u32, nibbles: d · q + m. */
export function unpackQ5_1(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const m = f16ToF32(packed.getUint16(at + 2, true));
  const high = packed.getUint32(at + 4, true);
  for (let i = 0; i < 32; i++) {
    const q = nibble(packed, at + 8, i) | (((high >>> i) & 1) << 4);
    out[first + i] = Math.fround(d * q) + m;
  }
}

/** The levels of iq4_nl and iq4_xs. */
export const IQ4_LEVELS: Int8Array = Int8Array.of(
  -127,
  -104,
  -83,
  -65,
  -49,
  -35,
  -22,
  -10,
  1,
  13,
  25,
  38,
  53,
  69,
  89,
  113,
);

/** f16 d, nibbles that choose one of 16 levels. */
export function unpackIq4Nl(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  for (let i = 0; i < 32; i++) out[first + i] = d * (IQ4_LEVELS[nibble(packed, at + 2, i)] ?? 0);
}

/** Twice the values of E2M1. Source: OCP Microscaling Formats 1.0, §5.3.3. */
const E2M1_DOUBLED = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** An E8M0 exponent, nibbles of E2M1: 2^(e − 127) · q. */
export function unpackMxfp4(packed: DataView, at: number, out: Float32Array, first: number): void {
  const half = 2 ** (packed.getUint8(at) - 128);
  for (let i = 0; i < 32; i++)
    out[first + i] = half * (E2M1_DOUBLED[nibble(packed, at + 1, i)] ?? 0);
}

function nibble(packed: DataView, at: number, i: number): number {
  return (packed.getUint8(at + (i & 15)) >> ((i >> 4) * 4)) & 15;
}
