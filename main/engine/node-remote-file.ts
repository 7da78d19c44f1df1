import { WeightsError } from "../../models/weights/errors.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";

/** Whether this names a file behind the web and not one on disk. */
export function isRemote(file: string): boolean {
  return /^https?:\/\//.test(file);
}

/**
 * A file behind HTTP, read by ranges: for looking into a model's headers without fetching it.
 * @param authorization sent to the address itself, not to where it forwards
 * @throws WeightsError `missing`, `io`
 */
export async function openNodeRemoteFile(
  url: string,
  authorization: string | null,
): Promise<RandomAccessFile> {
  const name = decodeURIComponent(url.slice(url.lastIndexOf("/") + 1));
  const fail = (code: "missing" | "io", reason: string): WeightsError =>
    new WeightsError(code, { file: name, reason });

  async function get(from: number, to: number): Promise<{ bytes: Uint8Array; total: number }> {
    const response = await fetch(url, {
      headers: {
        range: `bytes=${from}-${to}`,
        "accept-encoding": "identity",
        ...(authorization === null ? {} : { authorization }),
      },
    }).catch((error: unknown) => {
      throw fail("io", `the server cannot be reached (${String(error)})`);
    });
    if (response.status === 404) throw fail("missing", "there is no such file on the server");
    const [, start, end, total] =
      /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("content-range") ?? "") ?? [];
    // A server that sends the whole file instead of a range would send gigabytes.
    if (response.status !== 206 || Number(start) !== from || Number(end) > to) {
      await response.body?.cancel();
      throw fail("io", `the server gave no range of it (status ${response.status})`);
    }
    return { bytes: new Uint8Array(await response.arrayBuffer()), total: Number(total) };
  }

  const { total } = await get(0, 0);
  return {
    name,
    bytes: total,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= total))
        throw fail("io", `a read of ${length} bytes at ${offset} is beyond its ${total} bytes`);
      if (length === 0) return new Uint8Array(0);
      const { bytes } = await get(offset, offset + length - 1);
      return bytes;
    },
    close: () => Promise.resolve(),
  };
}
