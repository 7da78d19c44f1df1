import { packedRowBytes, Q8_0_BLOCK, type WeightDType } from "../spec/dtype.ts";

/** Codes of the dtypes in unpack.wgsl (`DTYPE`). */
export const dtypeCodes = {
  f32: 0,
  f16: 1,
  bf16: 2,
  q8_0: 3,
  q4_0: 4,
  q4_k: 5,
  q5_k: 6,
  q6_k: 7,
} as const satisfies Record<WeightDType, number>;

/** 32-bit words of one row's values in a GPU buffer, padded to 16 bytes. */
export function rowWords(dtype: WeightDType, cols: number): number {
  const bytes = dtype === "q8_0" ? cols : packedRowBytes(dtype, cols);
  return Math.ceil(bytes / 16) * 4;
}

/** 32-bit words of one row's f16 scales, two a word; 0 where the dtype has none. */
export function scaleWords(dtype: WeightDType, cols: number): number {
  return dtype === "q8_0" ? Math.ceil(cols / Q8_0_BLOCK / 2) : 0;
}

/** Values in the 16 bytes that kernels read at a time; `VALUES` of unpack.wgsl. */
export function valuesInVector(dtype: WeightDType): number {
  return dtype === "q8_0" ? 16 : dtype === "f32" ? 4 : 8;
}
