import { packedRowBytes, WEIGHT_BLOCKS, type WeightDType } from "../spec/dtype.ts";

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

/** What unpack.wgsl reads of a dtype whose values lie in blocks. */
interface BlockLayout {
  /** Values in a block. */
  readonly values: number;
  /** Bits of a value that lie with its neighbours'. */
  readonly bits: number;
  /** 16-bit halves of scales and further bits that a block has apart from them. */
  readonly halves: number;
}

const BLOCK_LAYOUTS: Partial<Record<WeightDType, BlockLayout>> = {
  q8_0: { values: 32, bits: 8, halves: 1 },
  q4_0: { values: 32, bits: 4, halves: 1 },
  q4_k: { values: 256, bits: 4, halves: 10 },
  q5_k: { values: 256, bits: 4, halves: 26 },
  q6_k: { values: 256, bits: 4, halves: 42 },
};

/** 32-bit words of one row's values in a GPU buffer, padded to 16 bytes. */
export function rowWords(dtype: WeightDType, cols: number): number {
  const layout = BLOCK_LAYOUTS[dtype];
  const bytes = layout === undefined ? packedRowBytes(dtype, cols) : (cols * layout.bits) / 8;
  return Math.ceil(bytes / 16) * 4;
}

/** 32-bit words of what one row's blocks share; 0 where the dtype has no blocks. */
export function scaleWords(dtype: WeightDType, cols: number): number {
  const layout = BLOCK_LAYOUTS[dtype];
  return layout === undefined ? 0 : Math.ceil(((cols / layout.values) * layout.halves) / 2);
}

/** Values in the 16 bytes that kernels read at a time; `VALUES` of unpack.wgsl. */
export function valuesInVector(dtype: WeightDType): number {
  return 128 / (BLOCK_LAYOUTS[dtype]?.bits ?? WEIGHT_BLOCKS[dtype].bytes * 8);
}
