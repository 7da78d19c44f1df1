/** The built command line, run from tests in a folder that is theirs. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cli = path.join(root, "out/node/cli.js");

export interface Ended {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

let folder = "";

/** The folder of a golden model. */
export function model(name: string): string {
  return path.join(root, "e2e/fixtures/models", name);
}

/** A place in the tests' own folder. */
export function at(name: string): string {
  return path.join(folder, name);
}

/** Runs a command. */
export async function tarn(...args: readonly string[]): Promise<Ended> {
  return await start(cli, args);
}

/** Runs a command that must succeed, and gives its result. */
export async function succeed(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await tarn(...args);
  expect(status, stderr).toBe(0);
  return stdout;
}

/** Makes the folder, and builds the command line where that is missing or old; to be called once in a test file. */
export function useCommandLine(): void {
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "tarn-cli-"));
    const help = await start(path.join(root, "main/cli/launch.ts"), ["help"]);
    expect(help.stdout, help.stderr).toMatch(/^Usage: tarn COMMAND/);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
}

async function start(script: string, args: readonly string[]): Promise<Ended> {
  return await new Promise((resolve) => {
    execFile(
      process.execPath,
      [script, ...args],
      { cwd: folder, maxBuffer: 64 * 2 ** 20 },
      (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
      },
    );
  });
}
