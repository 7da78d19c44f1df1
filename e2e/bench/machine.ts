/** Where and when something was measured, and how quiet it was there. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));

/** Of this machine, in words. */
export function describeMachine(): string {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const flags = /^flags\s*:(.*)$/m.exec(readText("/proc/cpuinfo"))?.[1] ?? "";
  const wide = ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8"].filter((flag) =>
    flags.split(/\s+/).includes(flag),
  );
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  return `${availableParallelism()} cores of ${model} (${wide.join(" ")}), ${memory}, Node ${process.versions.node}`;
}

/** The commit that is checked out, and whether files differ from it. */
export async function describeCommit(): Promise<string> {
  // A copy or a bundle says from what it was made: the history around it may be of something else.
  const made = process.env["TARN_COMMIT"];
  if (made !== undefined) return made;
  const git = async (...args: readonly string[]): Promise<string> =>
    (await run("git", ["-C", root, ...args])).stdout.trim();
  try {
    const commit = await git("rev-parse", "--short=10", "HEAD");
    const changed = await git("status", "--porcelain", "--", "kernels", "models", "main");
    return changed === "" ? commit : `${commit} with changes`;
  } catch {
    return "unknown";
  }
}

/** Of so many processors' clocks, which count hundredths of a second, a short look says enough; a GPU falls asleep in a long one. */
const SAMPLE_MS = availableParallelism() < 8 ? 200 : 50;
const PATIENCE_MS = 60_000;

/**
 * The share of the machine, 0 … 1, that is busy while we do nothing; waits until it is below `quiet`, but not for ever.
 * Where the system does not tell, NaN.
 */
export async function waitForQuiet(quiet: number): Promise<number> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const before = ticks();
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    const after = ticks();
    const busy = (after.busy - before.busy) / (after.all - before.all);
    if (!(busy > quiet) || performance.now() > end) return busy;
  }
}

/** A hundredth of a second, in which Linux counts for programs whatever its own clock is. */
const TICK = 0.01;

/** Seconds that processors were busy since the machine started, or a hypervisor took them: proc(5). NaN where the system does not tell. */
export function busySeconds(): number {
  return ticks().busy * TICK;
}

/** Seconds of processors that a process had, with all its threads. NaN where the system does not tell. */
export function secondsOf(pid: number): number {
  // Behind the name in parentheses, which may have any character: utime and stime are the twelfth and the next.
  const fields = readText(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK;
}

/** Of all processors since the start: proc(5), /proc/stat. */
function ticks(): { readonly busy: number; readonly all: number } {
  const fields = /^cpu +(.*)$/m.exec(readText("/proc/stat"))?.[1]?.split(" ").map(Number) ?? [];
  const all = fields.slice(0, 8).reduce((sum, value) => sum + value, 0);
  const idle = (fields[3] ?? NaN) + (fields[4] ?? NaN);
  return { busy: all - idle, all };
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // Not Linux: it stays unknown.
  }
}
