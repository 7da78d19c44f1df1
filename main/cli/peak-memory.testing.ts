/** `node --import peak-memory.testing.ts PROGRAM`: at its end the program writes the most resident bytes that it had to TARN_PEAK_FILE. */
import { readFileSync, writeFileSync } from "node:fs";

const { TARN_PEAK_FILE: file = "" } = process.env;

/** As the system counts it. What `getrusage` says on Linux begins with the peak of the process that this one was forked from. */
function peakBytes(): number {
  if (process.platform !== "linux") return 1024 * process.resourceUsage().maxRSS;
  const status = readFileSync("/proc/self/status", "utf8");
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]);
}

process.on("exit", () => writeFileSync(file, String(peakBytes())));
