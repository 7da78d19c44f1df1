/** In a checkout: builds what is missing or older than its sources. Runs from source, so it imports nothing of ours. */
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

interface Target {
  /** A file that the build writes. */
  readonly built: string;
  /** Folders and files that it is made of. */
  readonly sources: readonly string[];
  /** npm's name of the build. */
  readonly script: string;
}

const engine = ["kernels", "models", "main", "package-lock.json"];
const targets = {
  node: { built: "out/node/cli.js", sources: engine, script: "build:node" },
  renderer: {
    built: "out/renderer/index.html",
    sources: ["renderer", "main/contract", "package-lock.json"],
    script: "build:renderer",
  },
  desktop: {
    built: "out/main/index.js",
    sources: [...engine, "renderer/engine-window"],
    script: "build:desktop",
  },
} satisfies Record<string, Target>;

/**
 * Brings one of the builds up to date. What the tools print goes to standard error: standard output belongs to the
 * program that is started next.
 * @throws Error when the build fails
 */
export async function refresh(name: keyof typeof targets): Promise<void> {
  const isFresh = (): boolean =>
    modified(path.join(root, targets[name].built)) >=
    Math.max(...targets[name].sources.map(newest));
  if (isFresh()) return;
  const unlock = await lock(path.join(root, "out", `${name}.lock`));
  try {
    // Another program may have built it while this one waited.
    if (!isFresh()) await build(name);
  } finally {
    unlock();
  }
}

async function build(name: keyof typeof targets): Promise<void> {
  const { script } = targets[name];
  console.error(`Building ${name} (npm run ${script}) …`);
  const child = spawn("npm", ["run", "--silent", script], {
    cwd: root,
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  await new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) =>
      code === 0
        ? resolve()
        : reject(
            new Error(
              `npm run ${script} failed with status ${code}. What it printed stands above.`,
            ),
          ),
    );
  });
}

/** Waits until this process alone builds; the lock names its owner, so that one which was killed holds nobody up. */
async function lock(file: string): Promise<() => void> {
  mkdirSync(path.dirname(file), { recursive: true });
  for (;;) {
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    if (isAbandoned(file)) rmSync(file, { force: true });
    else await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function isAbandoned(file: string): boolean {
  try {
    const owner = Number(readFileSync(file, "utf8"));
    // Empty for the moment between its making and its writing.
    if (owner > 0) process.kill(owner, 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}

/** Time of the last change, ms; 0 where there is nothing. */
function modified(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function newest(source: string): number {
  const whole = path.join(root, source);
  if (path.extname(source) !== "") return modified(whole);
  return readdirSync(whole, { recursive: true, encoding: "utf8" })
    .filter(
      (entry) =>
        !/\.test\.tsx?$/.test(entry) && !entry.includes("generated") && path.extname(entry) !== "",
    )
    .reduce((latest, entry) => Math.max(latest, modified(path.join(whole, entry))), 0);
}
