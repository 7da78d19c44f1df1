/** The part of a TensorSource that safetensors and GGUF share: tensors at offsets of files, read and converted. */
import { packedRowBytes, Q8_0_BLOCK, type WeightDType } from "../../kernels/spec/dtype.ts";
import { decodeF32, encodeF32, isWeightDType, storedBytes } from "./convert.ts";
import { WeightsError } from "./errors.ts";
import type { RandomAccessFile, SourceMatrix, TensorInfo, TensorSource } from "./source.ts";

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
    const dtype = weightDType(tensor);
    return decodeF32(dtype, await readRange(tensor, 0, tensor.bytes), count(tensor.shape));
  }

  matrix(name: string, as: WeightDType | null): SourceMatrix {
    const tensor = this.#find(name);
    const stored = weightDType(tensor);
    const cols = tensor.shape.at(-1) ?? 1;
    const rows = count(tensor.shape.slice(0, -1));
    const dtype = as === null || (as === "q8_0" && cols % Q8_0_BLOCK !== 0) ? stored : as;
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
        if (dtype === stored) return bytes;
        const packed = new Uint8Array(rowCount * packedRowBytes(dtype, cols));
        const packedRow = packedRowBytes(dtype, cols);
        for (let row = 0; row < rowCount; row++) {
          const values = decodeF32(
            stored,
            bytes.subarray(row * rowBytes, (row + 1) * rowBytes),
            cols,
          );
          packed.set(encodeF32(dtype, values), row * packedRow);
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

function weightDType(tensor: StoredTensor): WeightDType {
  if (isWeightDType(tensor.dtype)) return tensor.dtype;
  throw new WeightsError("unsupported", {
    file: tensor.file.name,
    tensor: tensor.name,
    reason: "the type cannot be used as a weight",
    expected: "f32, f16, bf16 or q8_0",
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
