/** Half precision: decoding by table (weights come in millions), encoding rounded to nearest, ties to even. */
import { f16ToF32 } from "../../kernels/spec/dequantise.ts";

let table: Float32Array | null = null;

/** All 65,536 values of IEEE 754 binary16 by bit pattern; 256 KB, made on first use. */
export function f16Table(): Float32Array {
  if (table === null) {
    table = new Float32Array(0x10000);
    for (let bits = 0; bits < 0x10000; bits++) table[bits] = f16ToF32(bits);
  }
  return table;
}

const scratch = new DataView(new ArrayBuffer(4));

/** The binary16 bit pattern nearest to an f32, ties to even; beyond 65504 infinity, NaN stays NaN. */
export function f32ToF16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00;
  // 65520 is halfway between the largest f16 and what would be the next.
  if (magnitude >= 0x477f_f000) return sign | 0x7c00;
  if (magnitude < 0x3880_0000) {
    // Below 2^-14: a subnormal is a count of 2^-24.
    return sign | roundToEven(Math.abs(Math.fround(value)) * 2 ** 24);
  }
  const lowest = magnitude - 0x3800_0000;
  const rounded = lowest + 0x0fff + ((lowest >>> 13) & 1);
  return sign | (rounded >>> 13);
}

/** The bf16 bit pattern nearest to an f32, ties to even; NaN stays NaN. */
export function f32ToBf16(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest > 0.5 || (rest === 0.5 && floor % 2 === 1)) return floor + 1;
  return floor;
}
