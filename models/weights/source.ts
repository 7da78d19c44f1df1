import type { WeightDType } from "../../kernels/spec/dtype.ts";
import type { ReadRows } from "../../kernels/spec/tensor.ts";
import type { BlockDType } from "./blocks/block-types.ts";

/** A file that is read by byte ranges; the host opens it (a Node file handle, a Blob, HTTP ranges). */
export interface RandomAccessFile {
  /** File name inside the model folder, for errors and for finding shards: "model.safetensors". */
  readonly name: string;
  /** Length in bytes. */
  readonly bytes: number;
  /** Exactly `length` bytes from `offset`; the caller owns them. Rejects if there are fewer. */
  read(offset: number, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Element types of stored tensors, spelt as in the file's format but lower case. */
export type SourceDType =
  | WeightDType
  | BlockDType
  | "f64"
  | "i64"
  | "u64"
  | "i32"
  | "u32"
  | "i16"
  | "u16"
  | "i8"
  | "u8"
  | "bool";

/** Types that values can be packed into as they are read. */
export type EncodedDType = "f32" | "f16" | "bf16" | "q8_0";

/** A tensor as it lies in the file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SourceDType;
  /** Slowest first (PyTorch's order; GGUF's is turned round). [] is a scalar. */
  readonly shape: readonly number[];
  /** Bytes in the file. */
  readonly bytes: number;
}

/** A stored tensor as a packed matrix (rows, cols) of the dtype it will have in memory. */
export interface SourceMatrix {
  readonly dtype: WeightDType;
  readonly rows: number;
  readonly cols: number;
  /** Rows converted as they are read: memory is bounded by the piece that is asked for. */
  readonly read: ReadRows;
}

/** The tensors of a model's weight files under the names that the files give them. */
export interface TensorSource {
  readonly format: "safetensors" | "gguf";
  has(name: string): boolean;
  names(): readonly string[];
  /** @throws WeightsError `missing` */
  info(name: string): TensorInfo;
  /**
   * A whole tensor as f32, converted or dequantised; for small ones (norms, biases, conv weights).
   * @throws WeightsError `missing`, `unsupported` (integers), `io`
   */
  readF32(name: string): Promise<Float32Array>;
  /**
   * A tensor as a matrix: the last dimension is `cols`, all before it are `rows`; a vector is one row.
   * `as: null` keeps the stored dtype where backends read it, and repacks other block types to q8_0, the nearest that
   * they do; another dtype converts row by row. `as: "q8_0"` keeps the stored dtype where `cols` is no multiple of 32.
   * What becomes q8_0 is the same bit for bit where its values are whole numbers times one scale (blocks/exact-q8.ts),
   * and rounded as ggml's quantize_row_q8_0 where they are not.
   * @throws WeightsError `missing`, `unsupported`
   */
  matrix(name: string, as: EncodedDType | null): SourceMatrix;
  /** Closes the files; reads reject afterwards. */
  close(): Promise<void>;
}
