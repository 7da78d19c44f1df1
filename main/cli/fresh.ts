/** In a checkout: builds what is missing or older than its sources. Runs from source, so it imports nothing of ours. */
import { spawn } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
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
  renderer: { built: "out/renderer/index.html", sources: ["renderer", "main/contract", "package-lock.json"], script: "build:renderer" },
  desktop: { built: "out/main/index.js", sources: [...engine, "renderer/engine-window"], script: "build:desktop" },
} satisfies Record<string, Target>;

/**
 * Brings one of the builds up to date. What the tools print goes to standard error: standard output belongs to the
 * program that is started next.
 * @throws Error when the build fails
 */
export async function refresh(name: keyof typeof targets): Promise<void> {
  const { built, sources, script } = targets[name];
  if (modified(path.join(root, built)) >= Math.max(...sources.map(newest))) return;
  console.error(`Building ${name} (npm run ${script}) …`);
  const child = spawn("npm", ["run", "--silent", script], { cwd: root, stdio: ["ignore", 2, 2], shell: process.platform === "win32" });
  await new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => (code === 0 ? resolve() : reject(new Error(`npm run ${script} failed with status ${code}. What it printed stands above.`))));
  });
}

/** Time of the last change, ms; 0 where there is nothing. */
function modified(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function newest(source: string): number {
  const whole = path.join(root, source);
  if (path.extname(source) !== "") return modified(whole);
  return readdirSync(whole, { recursive: true, encoding: "utf8" })
    .filter((entry) => !/\.test\.tsx?$/.test(entry) && !entry.includes("generated") && path.extname(entry) !== "")
    .reduce((latest, entry) => Math.max(latest, modified(path.join(whole, entry))), 0);
}
