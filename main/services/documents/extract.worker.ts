/** One file's thread: extracts, answers once, ends. Its memory is limited by its starter (extractor.ts). */
import { parentPort, workerData } from "node:worker_threads";
import { z } from "zod";
import { TarnError, type ErrorDto } from "../../contract/errors.ts";
import { extract, type Extracted } from "./extract.ts";

/** The thread's one message. */
export type ExtractReply = { readonly ok: true; readonly extracted: Extracted } | { readonly ok: false; readonly error: ErrorDto };

const job = z.object({ name: z.string(), mediaType: z.string(), bytes: z.instanceof(Uint8Array) }).parse(workerData);

async function answer(): Promise<ExtractReply> {
  try {
    return { ok: true, extracted: await extract(job.name, job.mediaType, job.bytes) };
  } catch (cause) {
    if (cause instanceof TarnError) return { ok: false, error: cause.toDto() };
    throw cause;
  }
}

parentPort?.postMessage(await answer());
