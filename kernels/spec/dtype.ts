/**
 * Element types of weights as they stay in memory.
 *
 * `q8_0` is ggml's block of 32 values: an f16 scale `d`, then 32 int8 `q`; value = d * q (34 bytes).
 * Activations, states and accumulators are always f32.
 */
export type WeightDType = "f32" | "f16" | "bf16" | "q8_0";

/** Values in one q8_0 block. */
export const Q8_0_BLOCK = 32;
/** Bytes of one q8_0 block: an f16 scale and 32 int8 values. */
export const Q8_0_BLOCK_BYTES = 34;

/** Bytes of one packed row of `cols` values. `cols` must be a multiple of 32 for q8_0. */
export function packedRowBytes(dtype: WeightDType, cols: number): number {
  switch (dtype) {
    case "f32":
      return cols * 4;
    case "f16":
    case "bf16":
      return cols * 2;
    case "q8_0":
      return (cols / Q8_0_BLOCK) * Q8_0_BLOCK_BYTES;
  }
}
