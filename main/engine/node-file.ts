import { open } from "node:fs/promises";
import path from "node:path";
import { WeightsError } from "../../models/weights/errors.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";
import { isRemote, openNodeRemoteFile } from "./node-remote-file.ts";

/**
 * Opens a file on disk, or behind a web address, for reads of ranges.
 * @throws WeightsError `missing`, `io`
 */
export async function openNodeFile(file: string): Promise<RandomAccessFile> {
  if (isRemote(file)) {
    const token = process.env["HF_TOKEN"] ?? "";
    return openNodeRemoteFile(file, token === "" ? null : `Bearer ${token}`);
  }
  const name = path.basename(file);
  const handle = await open(file, "r").catch((error: unknown) => {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw new WeightsError(missing ? "missing" : "io", {
      file,
      reason: missing ? "there is no such file" : reasonOf(error),
    });
  });
  const { size } = await handle.stat();
  return {
    name,
    bytes: size,
    async read(offset, length) {
      // Before allocating: lengths come out of files that may lie.
      if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
        throw new WeightsError("io", {
          file,
          reason: "a read beyond the end of the file",
          expected: offset + length,
          actual: size,
        });
      }
      const bytes = new Uint8Array(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) {
          throw new WeightsError("io", {
            file,
            reason: "the file became shorter while it was read",
            expected: size,
            actual: offset + done,
          });
        }
        done += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}

function reasonOf(error: unknown): string {
  return `it could not be opened (${error instanceof Error ? error.message : String(error)})`;
}
