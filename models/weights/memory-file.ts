import type { RandomAccessFile } from "./source.ts";

/** Bytes in memory as a file: for models that are built in, and for tests. Reads beyond the end come back short. */
export function memoryFile(name: string, bytes: Uint8Array): RandomAccessFile {
  return {
    name,
    bytes: bytes.byteLength,
    read: async (offset, length) => bytes.slice(offset, offset + length),
    close: async () => {},
  };
}
