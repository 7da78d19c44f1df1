import { WeightsError } from "../../models/weights/errors.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";

/**
 * A weight file behind an address of main's, read by byte ranges.
 * @throws WeightsError `missing`, `io`
 */
export async function openRemoteFile(address: string): Promise<RandomAccessFile> {
  const file = decodeURIComponent(address.slice(address.lastIndexOf("/") + 1));
  const head = await fetch(address);
  const bytes = Number(head.headers.get("x-file-bytes") ?? Number.NaN);
  if (head.status === 404)
    throw new WeightsError("missing", { file, reason: "there is no such file" });
  if (!head.ok || !Number.isSafeInteger(bytes))
    throw new WeightsError("io", {
      file,
      reason: `it could not be opened (status ${head.status})`,
    });
  return {
    name: file,
    bytes,
    async read(offset, length) {
      // Before asking: lengths come out of files that may lie.
      if (!(offset >= 0 && length >= 0 && offset + length <= bytes)) {
        throw new WeightsError("io", {
          file,
          reason: "a read beyond the end of the file",
          expected: offset + length,
          actual: bytes,
        });
      }
      if (length === 0) return new Uint8Array(0);
      const response = await fetch(address, {
        headers: { range: `bytes=${offset}-${offset + length - 1}` },
      });
      const read = response.status === 206 ? new Uint8Array(await response.arrayBuffer()) : null;
      if (read?.byteLength === length) return read;
      throw new WeightsError("io", {
        file,
        reason: `a read of ${length} bytes at ${offset} failed (status ${response.status})`,
        expected: length,
        actual: read?.byteLength ?? 0,
      });
    },
    close: () => Promise.resolve(),
  };
}
