/**
 * `tarn` in a checkout: builds what is missing or older than its sources, then runs the command line. Runs from source
 * (Node strips the types) and imports only what does the same.
 *
 * The command runs as a child whose standard output is our standard error, and whose descriptor 3 is our standard
 * output: WebGPU's native library writes its warnings to descriptor 1, and only the result may get out there.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { refresh } from "./fresh.ts";

const cli = fileURLToPath(new URL("../../out/node/cli.js", import.meta.url));
const args = process.argv.slice(2);

try {
  await refresh("node");
  if (args[0] === "serve") await refresh("renderer");
  run();
} catch (error) {
  console.error(`tarn: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}

function run(): void {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd: standpoint(),
    // The channel tells the child when we are gone, even killed: it must not live on unseen.
    stdio: ["inherit", 2, 2, 1, "ipc"],
    env: { ...process.env, TARN_RESULT_FD: "3" },
  });
  // The terminal sends Ctrl+C to both; what it means is the child's affair.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => void child.kill("SIGTERM"));
  child.on("error", (error) => {
    console.error(`tarn: ${error.message}`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? (signal === null ? 1 : 130);
  });
}

/** npm runs scripts in the package's folder; the paths that a user types are seen from where the user stands. */
function standpoint(): string {
  const { INIT_CWD: started, npm_lifecycle_event: script } = process.env;
  const byNpm = script === "tarn" || script === "serve" || script === "start";
  return byNpm && started !== undefined ? started : process.cwd();
}
