/** A reading that is killed again and again. */
import BetterSqlite3 from "better-sqlite3";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { book } from "./book.testing.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-digest-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const KILLS = 50;

/** Steps, of at most 64 tokens, that a program took for all of its document. */
function stepsOf(data: string): number {
  const db = new BetterSqlite3(join(data, "tarn.sqlite"), { readonly: true });
  const { total } = db
    .prepare<[], { readonly total: number }>("SELECT total FROM readings")
    .get() ?? {
    total: 0,
  };
  db.close();
  return Math.floor(total / 64);
}

test("killed at 50 random moments it ends in the states of a reading that was left alone", async () => {
  const program = fileURLToPath(new URL("../../cli/digest.testing.ts", import.meta.url));
  const text = book(60);
  const folders = ["alone", "killed"].map((name) => join(folder, name));
  for (const one of folders) {
    mkdirSync(one);
    writeFileSync(join(one, "book.txt"), text);
  }
  const [alone = "", killed = ""] = folders;
  /** @returns whether it came to its end */
  const run = (data: string, ...steps: readonly number[]): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [program, data, ...steps.map(String)], {
        stdio: ["ignore", "pipe", "inherit"],
        // Half of its time is compiling the same sources again and again.
        env: { ...process.env, NODE_COMPILE_CACHE: join(folder, "compiled") },
      });
      child.stdout.once("data", () => steps.length > 0 && child.kill("SIGKILL"));
      child.on("exit", (code, signal) =>
        code === 0 || signal === "SIGKILL"
          ? resolve(code === 0)
          : reject(new Error(`status ${code}, signal ${signal}`)),
      );
    });
  expect(await run(alone)).toBe(true);
  // What all the killed ones may read together is less than all of it, so that each of them is killed.
  const most = Math.floor(stepsOf(alone) / KILLS);
  let seed = 7;
  const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let kill = 0; kill < KILLS; kill++) {
    const from = Math.floor((random() * most) / 2);
    expect(await run(killed, from, most)).toBe(false);
  }
  expect(await run(killed)).toBe(true);
  const states = (data: string) => {
    const db = new BetterSqlite3(join(data, "tarn.sqlite"), { readonly: true });
    const rows = db
      .prepare(
        `SELECT series, position, prefix_hash, raw_bytes, zstd FROM snapshots JOIN snapshot_heads ON snapshot_id = id
         ORDER BY series, position`,
      )
      .all();
    db.close();
    return rows;
  };
  expect(states(killed)).toEqual(states(alone));
});
