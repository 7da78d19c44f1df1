/** The way of weights into the sandbox: byte ranges of files that the services have named, and of no other. */
import { open } from "node:fs/promises";
import path from "node:path";
import { WEIGHTS_PATH } from "../contract/bridge.ts";

/** Most bytes that one request brings; the engine reads large tensors in pieces anyway. */
const MAX_RANGE_BYTES = 256 * 1024 * 1024;

export interface WeightFiles {
  /** @returns the address, on the engine window's origin, under which it may read this file from now on */
  register(file: string): string;
  /** `address` is what follows WEIGHTS_PATH. Answers `bytes=first-last` (both inclusive); without a range, only the length. */
  respond(address: string, range: string | null): Promise<Response>;
}

/** An empty register. Ids are numbers in order of registration: an address tells nothing about the disk. */
export function createWeightFiles(): WeightFiles {
  const ids = new Map<string, string>();
  const files = new Map<string, string>();

  return {
    register(file) {
      const absolute = path.resolve(file);
      const id = ids.get(absolute) ?? String(ids.size + 1);
      ids.set(absolute, id);
      files.set(id, absolute);
      // The name is for messages and for finding shards; only the number counts.
      return `${WEIGHTS_PATH}${id}/${encodeURIComponent(path.basename(absolute))}`;
    },

    async respond(address, range) {
      const file = files.get(address.split("/", 1)[0] ?? "");
      if (file === undefined) return new Response(null, { status: 404 });
      const handle = await open(file, "r");
      try {
        const { size } = await handle.stat();
        const headers = { "content-type": "application/octet-stream", "accept-ranges": "bytes" };
        if (range === null)
          return new Response(null, {
            status: 204,
            headers: { ...headers, "x-file-bytes": String(size) },
          });
        const wanted = parseRange(range, size);
        if (wanted === null)
          return new Response(null, {
            status: 416,
            headers: { "content-range": `bytes */${size}` },
          });
        const bytes = new Uint8Array(wanted.length);
        const { bytesRead } = await handle.read(bytes, 0, wanted.length, wanted.first);
        // The file shrank between `stat` and `read`: half a tensor must not look like a whole one.
        if (bytesRead !== wanted.length)
          return new Response(null, {
            status: 416,
            headers: { "content-range": `bytes */${wanted.first + bytesRead}` },
          });
        return new Response(bytes, {
          status: 206,
          headers: {
            ...headers,
            "content-range": `bytes ${wanted.first}-${wanted.first + wanted.length - 1}/${size}`,
          },
        });
      } finally {
        await handle.close();
      }
    },
  };
}

/** @returns null for anything but one range that lies wholly inside the file */
function parseRange(range: string, size: number): { first: number; length: number } | null {
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(range);
  if (match === null) return null;
  const [first, last] = [Number(match[1]), Number(match[2])];
  const length = last - first + 1;
  return length < 1 || length > MAX_RANGE_BYTES || last >= size ? null : { first, length };
}
