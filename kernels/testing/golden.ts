import { readFileSync } from "node:fs";

/** The tensors of one golden file. A missing tensor means that the option is off. */
export interface Golden {
  has(name: string): boolean;
  /** @throws Error if the tensor is missing or not F32 */
  f32(name: string): { readonly shape: readonly number[]; readonly values: Float32Array };
  /** @throws Error if the tensor is missing or not I32 */
  i32(name: string): Int32Array;
}

/** A file of e2e/fixtures, as text. */
export function fixtureText(path: string): string {
  return readFileSync(fixture(path), "utf8");
}

/** A file of e2e/fixtures, as bytes. */
export function fixtureBytes(path: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(fixture(path)));
}

/** The golden file at `path` in e2e/fixtures. */
export function loadGolden(path: string): Golden {
  return readGolden(fixtureBytes(path), path);
}

/** The tensors of a safetensors file. Trusts the bytes: the reader for files of others is in models/weights. */
export function readGolden(bytes: Uint8Array<ArrayBuffer>, path: string): Golden {
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
    string,
    {
      readonly dtype: string;
      readonly shape: readonly number[];
      readonly data_offsets: readonly [number, number];
    }
  >;
  const base = 8 + headerBytes;

  function tensor(name: string, dtype: string): { shape: readonly number[]; data: ArrayBuffer } {
    const entry = header[name];
    if (entry === undefined) throw new Error(`${path} has no tensor "${name}"`);
    if (entry.dtype !== dtype)
      throw new Error(`${path}: "${name}" is ${entry.dtype}, expected ${dtype}`);
    return {
      shape: entry.shape,
      data: bytes.buffer.slice(base + entry.data_offsets[0], base + entry.data_offsets[1]),
    };
  }
  return {
    has: (name) => Object.hasOwn(header, name),
    f32(name) {
      const { shape, data } = tensor(name, "F32");
      return { shape, values: new Float32Array(data) };
    },
    i32: (name) => new Int32Array(tensor(name, "I32").data),
  };
}

function fixture(path: string): URL {
  return new URL(`../../e2e/fixtures/${path}`, import.meta.url);
}
