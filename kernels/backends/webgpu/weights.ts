import { isWholeBlocks, packedRowBytes, WEIGHT_BLOCKS } from "../../spec/dtype.ts";
import { KernelError } from "../../spec/errors.ts";
import type { ReadRows, Weight, WeightSpec } from "../../spec/tensor.ts";
import { rowWords, scaleWords } from "../../wgsl/packed.ts";
import type { Allocation, Allocator } from "./buffers.ts";
import type { GpuDevice } from "./device.ts";
import { repack } from "./repack.ts";

/** Bytes of weights in host memory at a time. */
const PIECE_BYTES = 16 * 2 ** 20;
/** WebGPU's minStorageBufferOffsetAlignment at its default, which no device exceeds. Bytes. */
const BINDING_ALIGNMENT = 256;

/** Rows of a matrix in one buffer: values, then what their blocks share. */
export interface GpuWeightPart {
  readonly firstRow: number;
  readonly rows: number;
  readonly allocation: Allocation;
  readonly valueBytes: number;
  /** Of what blocks share, from the buffer's start; a multiple of the binding alignment. */
  readonly scaleOffset: number;
  readonly scaleBytes: number;
}

/** A weight on the GPU; a vector is one part without padding. */
export interface GpuWeight {
  readonly spec: WeightSpec;
  readonly parts: readonly GpuWeightPart[];
}

/** The weights of a backend by id. */
export interface WeightStore {
  /** @throws KernelError `dtype`, `shape`, `out-of-memory`, `device-lost` */
  upload(spec: WeightSpec, read: ReadRows): Promise<Weight>;
  /** A weight of use `matrix`. @throws KernelError `backend` for one of another backend, `dtype` for a vector */
  matrix(weight: Weight): GpuWeight;
  /** The dense f32 values of a weight of use `vector`. @throws KernelError `backend`, `dtype` for a matrix */
  vector(weight: Weight): GPUBuffer;
}

/** A store with no weights. */
export function createWeightStore(gpu: GpuDevice, allocator: Allocator): WeightStore {
  const weights = new Map<number, GpuWeight>();
  let sinceFlush = 0;

  function find(weight: Weight, use: WeightSpec["use"]): GpuWeight {
    const found = weights.get(weight.id);
    if (found === undefined)
      throw new KernelError("backend", `weight ${weight.id} is not on this backend`);
    if (found.spec.use !== use) {
      throw new KernelError(
        "dtype",
        `${found.spec.name} was uploaded as a ${found.spec.use}, and is used as a ${use}`,
      );
    }
    return found;
  }

  /** Copies made for `writeBuffer` are freed only as the queue moves on. */
  async function flush(bytes: number): Promise<void> {
    sinceFlush += bytes;
    if (sinceFlush < PIECE_BYTES) return;
    sinceFlush = 0;
    gpu.device.queue.submit([]);
    await gpu.settle(gpu.device.queue.onSubmittedWorkDone());
  }

  async function fill(spec: WeightSpec, part: GpuWeightPart, read: ReadRows): Promise<void> {
    const packedBytes = packedRowBytes(spec.dtype, spec.cols);
    const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / packedBytes));
    for (let row = 0; row < part.rows; row += rowsAtOnce) {
      const count = Math.min(rowsAtOnce, part.rows - row);
      const packed = await read(part.firstRow + row, count);
      if (packed.byteLength !== count * packedBytes) {
        throw new KernelError(
          "shape",
          `${spec.name}: rows ${part.firstRow + row}…+${count} gave ${packed.byteLength} bytes, expected ${count * packedBytes}`,
          { bytes: packed.byteLength, expected: count * packedBytes },
        );
      }
      gpu.check();
      const { queue } = gpu.device;
      const { buffer } = part.allocation;
      const { values, scales } = repack(spec, packed, count);
      queue.writeBuffer(buffer, (row * part.valueBytes) / part.rows, values);
      if (scales !== null)
        queue.writeBuffer(buffer, part.scaleOffset + (row * part.scaleBytes) / part.rows, scales);
      await flush(packed.byteLength);
    }
  }

  return {
    async upload(spec, read) {
      gpu.check();
      checkSpec(spec);
      const parts: GpuWeightPart[] = [];
      try {
        for (const planned of planParts(spec, gpu.maxBindingBytes)) {
          const allocation = await allocator.allocateChecked(
            spec.name,
            planned.scaleOffset + planned.scaleBytes,
            // Vectors can be read back (`Backend.readVector`).
            GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
            "weights",
          );
          const part = { ...planned, allocation };
          parts.push(part);
          await fill(spec, part, read);
        }
      } catch (error) {
        for (const part of parts) part.allocation.release();
        throw error;
      }
      const id = weights.size;
      weights.set(id, { spec, parts });
      return { id, dtype: spec.dtype, rows: spec.rows, cols: spec.cols };
    },
    matrix: (weight) => find(weight, "matrix"),
    vector: (weight) => find(weight, "vector").parts[0].allocation.buffer,
  };
}

function checkSpec({ name, dtype, rows, cols, use }: WeightSpec): void {
  if (!Number.isSafeInteger(rows) || !Number.isSafeInteger(cols) || rows < 1 || cols < 1) {
    throw new KernelError("shape", `${name}: a weight of (${rows}, ${cols})`, { rows, cols });
  }
  if (use === "vector" && dtype !== "f32") {
    throw new KernelError("dtype", `${name}: vectors are f32, this one is ${dtype}`, { dtype });
  }
  if (!isWholeBlocks(dtype, cols)) {
    throw new KernelError(
      "shape",
      `${name}: rows of ${cols} values are not whole ${dtype} blocks of ${WEIGHT_BLOCKS[dtype].values}`,
      { cols },
    );
  }
}

/** Cuts a weight by rows so that no binding is larger than the device allows. @throws KernelError `out-of-memory` */
function planParts(spec: WeightSpec, maxBytes: number): Omit<GpuWeightPart, "allocation">[] {
  const valueRow = spec.use === "vector" ? spec.cols * 4 : rowWords(spec.dtype, spec.cols) * 4;
  const scaleRow = spec.use === "vector" ? 0 : scaleWords(spec.dtype, spec.cols) * 4;
  const rowsAtMost = Math.floor((maxBytes - BINDING_ALIGNMENT) / (valueRow + scaleRow));
  // Kernels that read vectors know no parts.
  if (rowsAtMost < (spec.use === "vector" ? spec.rows : 1)) {
    throw new KernelError(
      "out-of-memory",
      `${spec.name} does not fit this GPU's bindings of ${maxBytes} bytes`,
      { maxBytes },
    );
  }
  const parts: Omit<GpuWeightPart, "allocation">[] = [];
  for (let firstRow = 0; firstRow < spec.rows; firstRow += rowsAtMost) {
    const rows = Math.min(rowsAtMost, spec.rows - firstRow);
    const valueBytes = rows * valueRow;
    parts.push({
      firstRow,
      rows,
      valueBytes,
      scaleOffset: Math.ceil(valueBytes / BINDING_ALIGNMENT) * BINDING_ALIGNMENT,
      scaleBytes: rows * scaleRow,
    });
  }
  return parts;
}
