/** One file from an HTTP server to its place on disk: resumed, checked, and never half there. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { TarnError } from "../../contract/errors.ts";

/** What is known of a file before it is fetched. */
export interface RemoteFile {
  readonly url: string;
  readonly bytes: number;
  /** What its content must hash to: SHA-256, or git's SHA-1 of a blob, in hex. */
  readonly hash: { readonly algorithm: "sha256" | "git-sha1"; readonly hex: string } | null;
}

export interface DownloadOptions {
  readonly signal: AbortSignal;
  /** Bytes that are there, of `bytes`. */
  readonly onProgress: (done: number) => void;
  readonly headers?: Readonly<Record<string, string>>;
  /** Waits between attempts that got nothing, ms; as many attempts as there are waits. For tests. */
  readonly waits?: readonly number[];
}

const WAITS = [500, 1000, 2000, 4000, 8000];
/** Left free on the disk: the database and its journal need some. */
const SPARE_BYTES = 64 * 1024 * 1024;
/** Files that change while they are fetched are begun anew so often. */
const MOST_RESTARTS = 2;

/** What lies beside a part: which file it is a part of. */
const partSchema = z.object({ url: z.string(), bytes: z.number(), etag: z.string() });
type Part = z.infer<typeof partSchema>;

/**
 * Fetches `file` to `target`. A part that an earlier attempt left is continued if the server still has the same file.
 * @throws TarnError `cancelled` (the part stays, for later), `disk-full`, `download` (what the server did wrong; a
 *   part that cannot be right is removed)
 */
export async function download(
  file: RemoteFile,
  target: string,
  options: DownloadOptions,
): Promise<void> {
  if (await isThere(file, target, options.signal)) return options.onProgress(file.bytes);
  await mkdir(dirname(target), { recursive: true });
  const attempt = new Attempt(file, target, options);
  await attempt.checkSpace();
  const waits = options.waits ?? WAITS;
  for (let failures = 0, restarts = 0; ;) {
    const before = await attempt.done();
    try {
      await attempt.fetchRest();
      break;
    } catch (cause) {
      if (options.signal.aborted) throw cancelled(file, cause);
      if (cause instanceof ChangedError) {
        await attempt.discard();
        if (++restarts > MOST_RESTARTS)
          throw failure(
            file,
            "the server changed the file again and again while it was fetched",
            cause,
          );
        continue;
      }
      if (!(cause instanceof DroppedError)) throw cause;
      // What went on for a while may go on: only attempts that got nothing count.
      failures = (await attempt.done()) > before ? 0 : failures + 1;
      const wait = waits[failures === 0 ? 0 : failures - 1];
      if (wait === undefined)
        throw failure(file, `${cause.message}, ${failures} times in turn`, cause);
      await sleep(wait, undefined, { signal: options.signal }).catch((aborted: unknown) => {
        throw cancelled(file, aborted);
      });
    }
  }
  await attempt.finish();
}

/** The connection ended too early, or none came about: worth another attempt. */
class DroppedError extends Error {}
/** The server has another file than the one that was begun. */
class ChangedError extends Error {}

class Attempt {
  readonly #file: RemoteFile;
  readonly #target: string;
  readonly #options: DownloadOptions;
  readonly #part: string;
  readonly #note: string;

  constructor(file: RemoteFile, target: string, options: DownloadOptions) {
    this.#file = file;
    this.#target = target;
    this.#options = options;
    this.#part = `${target}.part`;
    this.#note = `${target}.part.json`;
  }

  /** Bytes of the part that belongs to this file. */
  async done(): Promise<number> {
    const note = await this.#readNote();
    const size = (await stat(this.#part).catch(() => null))?.size ?? 0;
    return note === null ? 0 : size;
  }

  async checkSpace(): Promise<void> {
    const missing = this.#file.bytes - (await this.done()) + SPARE_BYTES;
    const { bavail, bsize } = await statfs(dirname(this.#target));
    if (bavail * bsize < missing) {
      throw new TarnError(
        "disk-full",
        `${this.#target} needs ${missing} bytes, but only ${bavail * bsize} are free. Free some space, or choose another folder.`,
        { path: this.#target, needed: missing, free: bavail * bsize },
      );
    }
  }

  /** @throws DroppedError, ChangedError, TarnError */
  async fetchRest(): Promise<void> {
    const { bytes, url } = this.#file;
    const note = await this.#readNote();
    const from = await this.done();
    if (from > bytes) throw new ChangedError("the part is longer than the file");
    if (from === bytes && note !== null) return;
    const response = await fetch(url, {
      signal: this.#options.signal,
      headers: {
        ...this.#options.headers,
        // Compressed content would have other lengths than the file.
        "accept-encoding": "identity",
        ...(from > 0 && note !== null ? { range: `bytes=${from}-`, "if-range": note.etag } : {}),
      },
    }).catch((cause: unknown) => {
      throw new DroppedError("the server cannot be reached", { cause });
    });
    if (response.status === 416) throw new ChangedError("the server has less than the part");
    if (response.status >= 500 || response.status === 429)
      throw new DroppedError(`the server answered ${response.status}`);
    if (!response.ok || response.body === null)
      throw failure(this.#file, `the server answered ${response.status}${hint(response.status)}`);
    const etag = response.headers.get("etag") ?? "";
    const start = response.status === 206 ? rangeStart(response, bytes) : 0;
    if (response.status === 206 && (start !== from || etag !== note?.etag))
      throw new ChangedError("the server gave another part than was asked for");
    await this.#write(response.body, start, etag);
  }

  async #write(body: ReadableStream<Uint8Array>, start: number, etag: string): Promise<void> {
    const { bytes, url } = this.#file;
    if (start === 0) {
      await rm(this.#part, { force: true });
      await writeFile(this.#note, JSON.stringify({ url, bytes, etag } satisfies Part));
    }
    const handle = await open(this.#part, start === 0 ? "w" : "r+");
    let at = start;
    try {
      for await (const piece of body) {
        if (at + piece.byteLength > bytes)
          throw failure(
            this.#file,
            `the server sends more than the ${bytes} bytes that it announced`,
          );
        await handle.write(piece, 0, piece.byteLength, at);
        at += piece.byteLength;
        this.#options.onProgress(at);
      }
    } catch (cause) {
      if (cause instanceof TarnError) {
        await this.discard();
        throw cause;
      }
      if (isDiskFull(cause)) throw diskFull(this.#target, cause);
      throw new DroppedError("the connection broke off", { cause });
    } finally {
      await handle.sync();
      await handle.close();
    }
    if (at < bytes) throw new DroppedError(`the server ended ${bytes - at} bytes too early`);
  }

  /** Checks the whole and moves it to its place. */
  async finish(): Promise<void> {
    const { hash } = this.#file;
    if (hash !== null) {
      const actual = await hashOf(this.#part, this.#file, this.#options.signal);
      if (actual !== hash.hex) {
        await this.discard();
        throw failure(
          this.#file,
          `what came is not the file: its ${hash.algorithm} is ${actual}, expected ${hash.hex}. It was removed; fetch it again`,
        );
      }
    }
    await rename(this.#part, this.#target);
    await rm(this.#note, { force: true });
    // The rename itself is on the disk only when the folder is. Windows has no such thing as a folder that is written to disk.
    if (process.platform === "win32") return;
    const folder = await open(dirname(this.#target), "r");
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async discard(): Promise<void> {
    await rm(this.#part, { force: true });
    await rm(this.#note, { force: true });
  }

  /** The note beside the part, if it is about this file. */
  async #readNote(): Promise<Part | null> {
    const text = await readFile(this.#note, "utf8").catch(() => null);
    if (text === null) return null;
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return null;
    }
    const note = partSchema.safeParse(json);
    const { url, bytes } = this.#file;
    const own = note.success && note.data.url === url && note.data.bytes === bytes;
    // Without a strong ETag nobody can say that the rest belongs to the part.
    return own && note.data.etag.startsWith('"') ? note.data : null;
  }
}

/** Whether the file is in its place already, with the right content. */
async function isThere(file: RemoteFile, target: string, signal: AbortSignal): Promise<boolean> {
  const found = await stat(target).catch(() => null);
  if (found?.size !== file.bytes) return false;
  const { hash } = file;
  return hash !== null && (await hashOf(target, file, signal)) === hash.hex;
}

async function hashOf(path: string, file: RemoteFile, signal: AbortSignal): Promise<string> {
  const hash = newHash(file);
  try {
    for await (const piece of createReadStream(path, { signal })) hash.update(piece);
  } catch (cause) {
    if (signal.aborted) throw cancelled(file, cause);
    throw cause;
  }
  return hash.digest("hex");
}

function newHash({ hash, bytes }: RemoteFile): Hash {
  if (hash?.algorithm !== "git-sha1") return createHash("sha256");
  return createHash("sha1").update(`blob ${bytes}\0`);
}

function rangeStart(response: Response, bytes: number): number {
  const [, start, , total] =
    /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("content-range") ?? "") ?? [];
  if (start === undefined || Number(total) !== bytes)
    throw new ChangedError("the server's range is of another file");
  return Number(start);
}

function hint(status: number): string {
  if (status === 401 || status === 403)
    return " (the model needs an agreement on its page, and a token in HF_TOKEN)";
  return status === 404 ? " (there is no such file)" : "";
}

function isDiskFull(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "ENOSPC";
}

function diskFull(path: string, cause: unknown): TarnError {
  return new TarnError(
    "disk-full",
    `The disk is full. What was fetched of ${path} stays; free some space and start again.`,
    { path },
    cause,
  );
}

function cancelled({ url }: RemoteFile, cause: unknown): TarnError {
  return new TarnError(
    "cancelled",
    "The download was stopped. What is there stays, and is continued the next time.",
    { url },
    cause,
  );
}

function failure({ url }: RemoteFile, reason: string, cause?: unknown): TarnError {
  return new TarnError("download", `${url} could not be fetched: ${reason}.`, { url }, cause);
}
