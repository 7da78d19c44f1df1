import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/** A tensor in memory, f32, slowest side first. */
export interface TestTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** All tensors of a safetensors file with nothing but F32. Trusts the bytes. */
export function readTensors(bytes: Uint8Array<ArrayBuffer>): Map<string, TestTensor> {
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
    string,
    { readonly shape: readonly number[]; readonly data_offsets: readonly [number, number] }
  >;
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(
        ([
          name,
          {
            shape,
            data_offsets: [from, to],
          },
        ]) => {
          const base = 8 + headerBytes;
          return [
            name,
            { shape, values: new Float32Array(bytes.buffer.slice(base + from, base + to)) },
          ];
        },
      ),
  );
}

/** Tensors as `model.safetensors`: a fixture whose tensors were renamed and rearranged. */
export function safetensorsFile(tensors: ReadonlyMap<string, TestTensor>): RandomAccessFile {
  let at = 0;
  const header: Record<string, object> = {};
  for (const [name, { shape, values }] of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [at, (at += values.byteLength)] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + at);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  at = 8 + text.length;
  for (const { values } of tensors.values()) {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return memoryFile("model.safetensors", bytes);
}

/** (rows, cols) → (cols, rows) */
export function transposed({ shape, values }: TestTensor): TestTensor {
  const [rows = 1, cols = 1] = shape;
  return {
    shape: [cols, rows],
    values: values.map((_, at) => values[(at % rows) * cols + Math.floor(at / rows)] ?? NaN),
  };
}
