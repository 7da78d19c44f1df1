/** Blocks of 256 values of −1, 0, 1 and an f16 scale at the end. */
import { f16ToF32 } from "../../../kernels/spec/dequantise.ts";

/** Five digits to the base 3 a byte, as a fraction of 256: 32 bytes for 160 values, 16 for 80, and 4 with four digits for 16. */
export function unpackTq1(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at + 52, true));
  for (let i = 0; i < 256; i++) {
    const [byte, digit] =
      i < 160
        ? [i % 32, Math.floor(i / 32)]
        : i < 240
          ? [32 + (i % 16), Math.floor((i - 160) / 16)]
          : [48 + (i % 4), Math.floor((i - 240) / 4)];
    // Multiplying a fraction by 3^digit and dropping what is above 1 leaves the wanted digit in front.
    const shifted = (packed.getUint8(at + byte) * 3 ** digit) & 255;
    out[first + i] = d * (((shifted * 3) >> 8) - 1);
  }
}

/** Two bits a value: halves of 128 values in 32 bytes each, four rows of 32 a half. */
export function unpackTq2(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at + 64, true));
  for (let i = 0; i < 256; i++) {
    const byte = packed.getUint8(at + (i >> 7) * 32 + (i & 31));
    out[first + i] = d * (((byte >> (((i >> 5) & 3) * 2)) & 3) - 1);
  }
}
