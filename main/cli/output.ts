import { writeSync } from "node:fs";

/**
 * Descriptor of the result. main/cli/launch.ts gives the command its own standard output as descriptor 3 (and says
 * so), because native libraries write to descriptor 1 what they like.
 */
const resultDescriptor = Number(process.env["TARN_RESULT_FD"] ?? "1");

/** Writes to the result, and nothing else does. Blocks where the reader is slow, so that nothing is lost at exit. */
export function writeResult(text: string): void {
  const bytes = Buffer.from(text, "utf8");
  let written = 0;
  while (written < bytes.byteLength) {
    try {
      written += writeSync(resultDescriptor, bytes, written);
    } catch (error) {
      // A pipe that is full says so instead of blocking; its reader will come.
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

/** The one JSON value of `--json`. */
export function writeJson(value: unknown): void {
  writeResult(`${JSON.stringify(value)}\n`);
}

/** Everything that is not the result: progress, notices, warnings. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
