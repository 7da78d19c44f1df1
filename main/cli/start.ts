/**
 * `npm start`: the desktop program where Electron's binary is, the browser shell in its place where it is not, or where
 * `--no-open` asks for an address and nothing else.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { refresh } from "./fresh.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const args = process.argv.slice(2);
const electron = electronBinary();

if (args.includes("--no-open")) {
  await serve();
} else if (electron === null) {
  console.error(
    "Electron's program is not on this machine (npx install-electron brings it), so Tarn opens in the browser.",
  );
  await serve();
} else {
  await refresh("renderer");
  await refresh("desktop");
  run(electron, [root, ...args]);
}

async function serve(): Promise<void> {
  await refresh("renderer");
  run(process.execPath, [path.join(root, "main/cli/launch.ts"), "serve", ...args]);
}

/** Where the `electron` package keeps its binary. Importing the package would download what is missing; this only looks. */
function electronBinary(): string | null {
  const folder = path.join(root, "node_modules/electron");
  const pointer = path.join(folder, "path.txt");
  const name = existsSync(pointer) ? readFileSync(pointer, "utf8") : "electron";
  const binary = path.join(
    process.env["ELECTRON_OVERRIDE_DIST_PATH"] ?? path.join(folder, "dist"),
    name,
  );
  return existsSync(binary) ? binary : null;
}

function run(program: string, programArgs: readonly string[]): void {
  const child = spawn(program, programArgs, {
    // npm runs scripts in the package's folder; a path that a user types is seen from where the user stands.
    cwd: process.env["INIT_CWD"] ?? process.cwd(),
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => void child.kill(signal));
  child.on("error", (error) => {
    console.error(error.message);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
}
