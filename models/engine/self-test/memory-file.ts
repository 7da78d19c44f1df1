import { WeightsError } from "../../weights/errors.ts";
import type { RandomAccessFile } from "../../weights/source.ts";

/** Bytes in memory, read like a file. */
export function memoryFile(name: string, bytes: Uint8Array): RandomAccessFile {
  return {
    name,
    bytes: bytes.byteLength,
    async read(offset, length) {
      if (offset + length > bytes.byteLength) {
        throw new WeightsError("io", {
          file: name,
          reason: "a read beyond the end",
          expected: offset + length,
          actual: bytes.byteLength,
        });
      }
      return bytes.slice(offset, offset + length);
    },
    close: async () => undefined,
  };
}
