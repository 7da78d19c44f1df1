import { packedRowBytes, Q8_0_BLOCK, Q8_0_BLOCK_BYTES, type WeightDType } from "./dtype.ts";

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

/**
 * Unpacks row `row` of a packed matrix into `out`, (cols) f32. Exact for every dtype but q8_0, whose product d * q is
 * rounded to f32 once.
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
    case "q8_0":
      for (let block = 0, first = 0; first < out.length; block++, first += Q8_0_BLOCK) {
        dequantiseBlock(packed, start + block * Q8_0_BLOCK_BYTES, out, first);
      }
      return;
  }
}

/** The innermost loop of every product with q8_0 weights: nothing imported in it, as bundlers make imports lookups. */
function dequantiseBlock(packed: DataView, at: number, out: Float32Array, first: number): void {
  const d = f16ToF32(packed.getUint16(at, true));
  const values = at + 2;
  for (let j = 0; j < 32; j++) out[first + j] = d * packed.getInt8(values + j);
}
