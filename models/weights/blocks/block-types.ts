import { dequantiseRow } from "../../../kernels/spec/dequantise.ts";
import { WEIGHT_BLOCKS, type BlockSize } from "../../../kernels/spec/dtype.ts";
import {
  unpackIq1M,
  unpackIq1S,
  unpackIq2S,
  unpackIq2Xs,
  unpackIq2Xxs,
  unpackIq3S,
  unpackIq3Xxs,
} from "./codebook-blocks.ts";
import { unpackIq4Xs, unpackQ2K, unpackQ3K } from "./k-blocks.ts";
import { unpackIq4Nl, unpackMxfp4, unpackQ4_1, unpackQ5_0, unpackQ5_1 } from "./small-blocks.ts";
import { unpackTq1, unpackTq2 } from "./ternary-blocks.ts";

/** Unpacks the block at byte `at` into `out` from `first` on. */
export type UnpackBlock = (packed: DataView, at: number, out: Float32Array, first: number) => void;

export interface BlockType extends BlockSize {
  readonly unpack: UnpackBlock;
}

/**
 * ggml's block types by lower-case name: those that stay packed in memory, and those that are only read. Values are
 * rounded to f32 in the same steps as ggml's. Source of the layouts: ggml-common.h.
 */
export const BLOCK_TYPES = {
  q8_0: kept("q8_0"),
  q4_0: kept("q4_0"),
  q4_k: kept("q4_k"),
  q5_k: kept("q5_k"),
  q6_k: kept("q6_k"),
  q4_1: { values: 32, bytes: 20, unpack: unpackQ4_1 },
  q5_0: { values: 32, bytes: 22, unpack: unpackQ5_0 },
  q5_1: { values: 32, bytes: 24, unpack: unpackQ5_1 },
  q2_k: { values: 256, bytes: 84, unpack: unpackQ2K },
  q3_k: { values: 256, bytes: 110, unpack: unpackQ3K },
  iq4_nl: { values: 32, bytes: 18, unpack: unpackIq4Nl },
  iq4_xs: { values: 256, bytes: 136, unpack: unpackIq4Xs },
  iq2_xxs: { values: 256, bytes: 66, unpack: unpackIq2Xxs },
  iq2_xs: { values: 256, bytes: 74, unpack: unpackIq2Xs },
  iq2_s: { values: 256, bytes: 82, unpack: unpackIq2S },
  iq3_xxs: { values: 256, bytes: 98, unpack: unpackIq3Xxs },
  iq3_s: { values: 256, bytes: 110, unpack: unpackIq3S },
  iq1_s: { values: 256, bytes: 50, unpack: unpackIq1S },
  iq1_m: { values: 256, bytes: 56, unpack: unpackIq1M },
  tq1_0: { values: 256, bytes: 54, unpack: unpackTq1 },
  tq2_0: { values: 256, bytes: 66, unpack: unpackTq2 },
  mxfp4: { values: 32, bytes: 17, unpack: unpackMxfp4 },
} as const satisfies Record<string, BlockType>;

export type BlockDType = keyof typeof BLOCK_TYPES;

/** Whether values of this type lie in blocks. */
export function isBlockDType(dtype: string): dtype is BlockDType {
  return Object.hasOwn(BLOCK_TYPES, dtype);
}

/** A type that the backends read too: their unpacking is the only one. */
function kept(dtype: "q8_0" | "q4_0" | "q4_k" | "q5_k" | "q6_k"): BlockType {
  const { values, bytes } = WEIGHT_BLOCKS[dtype];
  return {
    values,
    bytes,
    unpack(packed, at, out, first) {
      const block = new DataView(packed.buffer, packed.byteOffset + at, bytes);
      dequantiseRow(dtype, block, 0, out.subarray(first, first + values));
    },
  };
}
