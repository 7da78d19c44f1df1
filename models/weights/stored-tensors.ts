/** The part of a TensorSource that safetensors and GGUF share: tensors at offsets of files, read and converted. */
import { packedRowBytes, Q8_0_BLOCK, type WeightDType } from "../../kernels/spec/dtype.ts";
import { isWholeDType, repackExact } from "./blocks/exact-q8.ts";
import {
  decodeF32,
  encodeF32,
  isFloatDType,
  isWeightDType,
  storedBytes,
  type FloatDType,
} from "./convert.ts";
import { WeightsError } from "./errors.ts";
import type {
  EncodedDType,
  RandomAccessFile,
  SourceMatrix,
  TensorInfo,
  TensorSource,
} from "./source.ts";

/** Where a tensor lies. */
export interface StoredTensor extends TensorInfo {
  readonly file: RandomAccessFile;
  /** From the start of the file, in bytes. */
  readonly offset: number;
}

/** Tensors by name over one or more files. Offsets and sizes must have been checked against the files. */
export class StoredTensors implements TensorSource {
  readonly format: TensorSource["format"];
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  readonly #files: readonly RandomAccessFile[];

  constructor(
    format: TensorSource["format"],
    tensors: ReadonlyMap<string, StoredTensor>,
    files: readonly RandomAccessFile[],
  ) {
    this.format = format;
    this.#tensors = tensors;
    this.#files = files;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  names(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  info(name: string): TensorInfo {
    return this.#find(name);
  }

  async readF32(name: string): Promise<Float32Array> {
    const tensor = this.#find(name);
    const dtype = floatDType(tensor);
    return decodeF32(dtype, await readRange(tensor, 0, tensor.bytes), count(tensor.shape));
  }

  matrix(name: string, as: EncodedDType | null): SourceMatrix {
    const tensor = this.#find(name);
    const stored = floatDType(tensor);
    const cols = tensor.shape.at(-1) ?? 1;
    const rows = count(tensor.shape.slice(0, -1));
    const { dtype, encoded } = targetOf(stored, cols, as);
    const rowBytes = storedBytes(stored, cols);
    return {
      dtype,
      rows,
      cols,
      async read(firstRow, rowCount) {
        if (
          !Number.isSafeInteger(firstRow) ||
          !Number.isSafeInteger(rowCount) ||
          firstRow < 0 ||
          rowCount < 0 ||
          firstRow + rowCount > rows
        ) {
          throw new RangeError(
            `rows ${firstRow}…${firstRow + rowCount - 1} of ${name}, which has ${rows}`,
          );
        }
        const bytes = await readRange(tensor, firstRow * rowBytes, rowCount * rowBytes);
        if (encoded === null) return bytes;
        const packed = new Uint8Array(rowCount * packedRowBytes(dtype, cols));
        const packedRow = packedRowBytes(dtype, cols);
        for (let row = 0; row < rowCount; row++) {
          const from = bytes.subarray(row * rowBytes, (row + 1) * rowBytes);
          packed.set(repackRow(stored, encoded, from, cols), row * packedRow);
        }
        return packed;
      },
    };
  }

  /** Stored bytes `from … from + length - 1` of a tensor, as they are: for hashes. */
  readStored(name: string, from: number, length: number): Promise<Uint8Array> {
    return readRange(this.#find(name), from, length);
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()));
  }

  #find(name: string): StoredTensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) {
      throw new WeightsError("missing", {
        file: this.#files.map((file) => file.name).join(", "),
        tensor: name,
        reason: `there is no such tensor among the ${this.#tensors.size} that the model has`,
      });
    }
    return tensor;
  }
}

/** Values in a shape; 1 for a scalar. */
export function count(shape: readonly number[]): number {
  return shape.reduce((product, side) => product * side, 1);
}

/** What a stored matrix becomes; `encoded` is null where its bytes stay as they are. */
function targetOf(
  stored: FloatDType,
  cols: number,
  as: EncodedDType | null,
): { readonly dtype: WeightDType; readonly encoded: EncodedDType | null } {
  const wanted = as === "q8_0" && cols % Q8_0_BLOCK !== 0 ? null : as;
  if (wanted !== null && wanted !== stored) return { dtype: wanted, encoded: wanted };
  if (isWeightDType(stored)) return { dtype: stored, encoded: null };
  return { dtype: "q8_0", encoded: "q8_0" };
}

/** A row as another type: without rounding where that can be had. */
function repackRow(from: FloatDType, to: EncodedDType, row: Uint8Array, cols: number): Uint8Array {
  return to === "q8_0" && isWholeDType(from)
    ? repackExact(from, row, cols, (values) => encodeF32("q8_0", values))
    : encodeF32(to, decodeF32(from, row, cols));
}

function floatDType(tensor: StoredTensor): FloatDType {
  if (isFloatDType(tensor.dtype)) return tensor.dtype;
  throw new WeightsError("unsupported", {
    file: tensor.file.name,
    tensor: tensor.name,
    reason: "the type cannot be used as a weight",
    expected: "floating-point numbers",
    actual: tensor.dtype,
  });
}

async function readRange(tensor: StoredTensor, from: number, length: number): Promise<Uint8Array> {
  return readExactly(tensor.file, tensor.offset + from, length, tensor.name);
}

/** @throws WeightsError `io` if the read fails or comes back short */
export async function readExactly(
  file: RandomAccessFile,
  offset: number,
  length: number,
  tensor?: string,
): Promise<Uint8Array> {
  const where = tensor === undefined ? { file: file.name } : { file: file.name, tensor };
  let bytes: Uint8Array;
  try {
    bytes = await file.read(offset, length);
  } catch (error) {
    throw new WeightsError("io", {
      ...where,
      reason: `bytes ${offset}…${offset + length - 1} could not be read (${String(error)})`,
    });
  }
  if (bytes.byteLength !== length) {
    throw new WeightsError("io", {
      ...where,
      reason: `the file ended within bytes ${offset}…`,
      expected: length,
      actual: bytes.byteLength,
    });
  }
  return bytes;
}
