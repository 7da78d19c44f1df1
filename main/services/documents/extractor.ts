import { Worker } from "node:worker_threads";
import { MAX_DOCUMENT_BYTES } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { ExtractReply, ReadDocument } from "./extracted.ts";

/** The thread's program: in the sources beside this file, in a build beside the bundle that this file is part of. */
const program = new URL(
  import.meta.url.endsWith(".ts") ? "./extract.worker.ts" : "./extract.worker.js",
  import.meta.url,
);

/** What one file may cost. */
export interface ExtractLimits {
  readonly ms: number;
  /** Of the thread's memory; what archives unpack to has a limit of its own (formats/zip.ts). */
  readonly megabytes: number;
}

const LIMITS: ExtractLimits = { ms: 180_000, megabytes: 1024 };

/**
 * Extracts in a thread of its own, which is ended when it takes too long or too much memory.
 * @throws TarnError `document-…`
 */
export async function extractInThread(
  name: string,
  mediaType: string,
  bytes: Uint8Array,
  limits: ExtractLimits = LIMITS,
): Promise<ReadDocument> {
  if (bytes.byteLength > MAX_DOCUMENT_BYTES) {
    const size = Math.ceil(bytes.byteLength / 2 ** 20);
    throw new TarnError(
      "document-too-large",
      `"${name}" has ${size} MB; the limit is ${MAX_DOCUMENT_BYTES / 2 ** 20} MB. Nothing was added; attach a smaller part of it.`,
      { name, bytes: bytes.byteLength, limit: MAX_DOCUMENT_BYTES },
    );
  }
  const worker = new Worker(program, {
    workerData: { name, mediaType, bytes },
    name: "extract",
    resourceLimits: { maxOldGenerationSizeMb: limits.megabytes },
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    const reply = await new Promise<ExtractReply>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", (cause) => reject(broken(name, reasonOf(cause), cause)));
      worker.once("exit", () => reject(broken(name, "its reader ended early")));
      timer = setTimeout(
        () => reject(broken(name, `it took longer than ${Math.round(limits.ms / 1000)} seconds`)),
        limits.ms,
      );
    });
    if (reply.ok) return reply.document;
    throw new TarnError(reply.error.code, reply.error.message, reply.error.data);
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}

function broken(name: string, why: string, cause?: unknown): TarnError {
  return new TarnError(
    "document-broken",
    `"${name}" could not be read: ${why}. Nothing was added.`,
    { name },
    cause,
  );
}

function reasonOf(cause: Error): string {
  if ("code" in cause && cause.code === "ERR_WORKER_OUT_OF_MEMORY")
    return "it needs more memory than a document may take";
  return cause.message;
}
