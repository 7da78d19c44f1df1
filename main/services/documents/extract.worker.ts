/** One file's thread: extracts, cuts into passages, answers once, ends. Its memory is limited by its starter (extractor.ts). */
import { parentPort, workerData } from "node:worker_threads";
import { z } from "zod";
import { TarnError } from "../../contract/errors.ts";
import { extract } from "./extract.ts";
import type { ExtractReply } from "./extracted.ts";
import { cutPassages } from "./passages.ts";

const job = z
  .object({ name: z.string(), mediaType: z.string(), bytes: z.instanceof(Uint8Array) })
  .parse(workerData);

// Over a damaged page tree pdf.js looks at every page at once and waits for them in turn: the first that is wrong is caught, and it
// begins anew by searching the file for objects; the others are rejected with nobody there, which would end this thread amid a reading
// that succeeds. Whoever asked for the text is told by its own promise; where that never settled the thread would end without an
// answer, which is a failure, too. Promises of ours are awaited all (no-floating-promises).
process.on("unhandledRejection", () => undefined);

async function answer(): Promise<ExtractReply> {
  try {
    const extracted = await extract(job.name, job.mediaType, job.bytes);
    return {
      ok: true,
      document: { ...extracted, passages: cutPassages(extracted.text, extracted.pages) },
    };
  } catch (cause) {
    if (cause instanceof TarnError) return { ok: false, error: cause.toDto() };
    throw cause;
  }
}

parentPort?.postMessage(await answer());
