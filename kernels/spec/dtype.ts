/**
 * Element types of weights as they stay in memory. Blocks are ggml's: 32 or 256 values that share scales.
 *
 * | dtype | values | bytes | a value is |
 * |---|---|---|---|
 * | `q8_0` | 32 | 34 | d · q: an f16 scale, 32 int8 |
 * | `q4_0` | 32 | 18 | d · (q − 8): an f16 scale, 32 nibbles |
 * | `q4_k` | 256 | 144 | d · sc · q − dmin · m: two f16, 8 pairs of 6-bit sc and m, 256 nibbles |
 * | `q5_k` | 256 | 176 | the same with q of 5 bits |
 * | `q6_k` | 256 | 210 | d · sc · (q − 32): q of 6 bits, 16 int8 scales, an f16 |
 *
 * Activations, states and accumulators are always f32.
 */
export type WeightDType = "f32" | "f16" | "bf16" | "q8_0" | "q4_0" | "q4_k" | "q5_k" | "q6_k";

/** Values that are packed together, and the bytes they take. */
export interface BlockSize {
  readonly values: number;
  readonly bytes: number;
}

/** The blocks of each type; those without blocks have one value in each. */
export const WEIGHT_BLOCKS: Readonly<Record<WeightDType, BlockSize>> = {
  f32: { values: 1, bytes: 4 },
  f16: { values: 1, bytes: 2 },
  bf16: { values: 1, bytes: 2 },
  q8_0: { values: 32, bytes: 34 },
  q4_0: { values: 32, bytes: 18 },
  q4_k: { values: 256, bytes: 144 },
  q5_k: { values: 256, bytes: 176 },
  q6_k: { values: 256, bytes: 210 },
};

/** Values in one q8_0 block. */
export const Q8_0_BLOCK = 32;
/** Bytes of one q8_0 block: an f16 scale and 32 int8 values. */
export const Q8_0_BLOCK_BYTES = 34;

/** Bytes of one packed row of `cols` values, which must be whole blocks. */
export function packedRowBytes(dtype: WeightDType, cols: number): number {
  const { values, bytes } = WEIGHT_BLOCKS[dtype];
  return (cols / values) * bytes;
}

/** Whether rows of `cols` values can be packed so. */
export function isWholeBlocks(dtype: WeightDType, cols: number): boolean {
  return cols % WEIGHT_BLOCKS[dtype].values === 0;
}
