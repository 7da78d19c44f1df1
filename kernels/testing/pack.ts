import {
  Q8_0_BLOCK,
  Q8_0_BLOCK_BYTES,
  packedRowBytes,
  WEIGHT_BLOCKS,
  type WeightDType,
} from "../spec/dtype.ts";
import type { Seeded } from "./seeded.ts";

/**
 * A packed matrix of random bits for tests: normal values of about `scale`, in any dtype. Made of bits, not rounded
 * from numbers, so that it needs no quantiser to be right.
 */
export function randomPacked(
  random: Seeded,
  dtype: WeightDType,
  rows: number,
  cols: number,
  scale: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(rows * packedRowBytes(dtype, cols));
  const view = new DataView(bytes.buffer);
  switch (dtype) {
    case "f32":
      random.normal(rows * cols, scale).forEach((value, i) => view.setFloat32(i * 4, value, true));
      break;
    case "bf16":
      random
        .normal(rows * cols, scale)
        .forEach((value, i) => view.setUint16(i * 2, f32Bits(value) >>> 16, true));
      break;
    case "f16":
      random
        .normal(rows * cols, scale)
        .forEach((value, i) => view.setUint16(i * 2, truncatedF16(value), true));
      break;
    case "q8_0":
      for (let at = 0; at < bytes.length; at += Q8_0_BLOCK_BYTES) {
        view.setUint16(at, truncatedF16((scale / 64) * (0.5 + random.next())), true);
        for (let j = 0; j < Q8_0_BLOCK; j++)
          view.setInt8(at + 2 + j, Math.floor(random.next() * 255) - 127);
      }
      break;
    case "q4_0":
    case "q4_k":
    case "q5_k":
    case "q6_k":
      bytes.forEach((_, at) => (bytes[at] = Math.floor(random.next() * 256)));
      for (let at = 0; at < bytes.length; at += WEIGHT_BLOCKS[dtype].bytes) {
        for (const { offset, largest } of BLOCK_FACTORS[dtype]) {
          const factor = (3 * scale * (0.5 + random.next())) / largest;
          view.setUint16(at + offset, truncatedF16(factor), true);
        }
      }
      break;
  }
  return bytes;
}

/** The f16 of a block, and the largest integer that each is multiplied with; all else in a block may be any bits. */
const BLOCK_FACTORS = {
  q4_0: [{ offset: 0, largest: 8 }],
  q4_k: [
    { offset: 0, largest: 63 * 15 },
    { offset: 2, largest: 63 * 2 },
  ],
  q5_k: [
    { offset: 0, largest: 63 * 31 },
    { offset: 2, largest: 63 * 2 },
  ],
  q6_k: [{ offset: 208, largest: 127 * 32 }],
} as const;

function f32Bits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

/** The f16 bit pattern next to zero from value; what is too small for a normal f16 becomes a subnormal one. */
function truncatedF16(value: number): number {
  const bits = f32Bits(value);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 127 + 15;
  if (exponent >= 31) return sign | 0x7bff;
  if (exponent > 0) return sign | (exponent << 10) | ((bits >>> 13) & 0x3ff);
  const subnormal = Math.trunc(Math.abs(value) * 2 ** 24);
  return sign | subnormal;
}
