/**
 * `npm run docs:support`: runs the tests that compare logits with other implementations', and writes docs/support.md from
 * what they found. Fails, and writes nothing, if they do.
 */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { RECORDS, SUPPORT_FILE, supportRecords, supportText, WRITING } from "./support.ts";

const ARCH = new URL("../arch/", import.meta.url);
/** The test files that leave records. */
const TESTS = readdirSync(ARCH)
  .filter((name) => name.endsWith(".test.ts"))
  .filter((name) => readFileSync(new URL(name, ARCH), "utf8").includes("recordDifference("))
  .map((name) => `models/arch/${name}`);

const root = fileURLToPath(new URL("../..", import.meta.url));

function runTool(name: string, ...args: readonly string[]): void {
  const { status, error } = spawnSync("npx", ["--no", name, "--", ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, [WRITING]: "1" },
  });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${name} ended with ${status}`);
}

rmSync(RECORDS, { recursive: true, force: true });
runTool("vitest", "run", "-c", "e2e/vitest.config.ts", "--project", "node", ...TESTS);
writeFileSync(SUPPORT_FILE, supportText(supportRecords()));
runTool("oxfmt", fileURLToPath(SUPPORT_FILE));
