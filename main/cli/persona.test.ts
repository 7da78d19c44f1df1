/** Personas and audits from the command line, on the default model. */
import BetterSqlite3 from "better-sqlite3";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { at, succeed, tarn, useCommandLine } from "./command-line.testing.ts";

useCommandLine();

const cli = fileURLToPath(new URL("../../out/node/cli.js", import.meta.url));
const WATCHMAN = ["persona", "add", "Watchman", "--prompt", "You watch over a castle."];

/** A conversation whose turns are typed. */
async function chat(lines: readonly string[], ...args: readonly string[]): Promise<unknown> {
  const child = spawn(process.execPath, [cli, "chat", "--json", ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(lines.map((line) => `${line}\n`).join(""));
  let text = "";
  for await (const piece of child.stdout) text += String(piece);
  return JSON.parse(text);
}

test("a persona is added, shown, changed, begun with, and removed; an audit of its chat holds until a word is changed", async () => {
  const data = ["--data", at("data")];
  const examples = at("examples.json");
  writeFileSync(examples, JSON.stringify([{ user: "Who is there?", assistant: "The wind." }]));
  const added = await succeed(...WATCHMAN, "--examples", examples, "--json", ...data);
  expect(JSON.parse(added)).toMatchObject({ name: "Watchman", cost: { tokens: 0 } });
  expect(await succeed("persona", "show", "Watchman", ...data)).toContain("User: Who is there?");
  await succeed(...WATCHMAN, ...data);
  const list = JSON.parse(await succeed("persona", "list", "--json", ...data));
  expect(list).toMatchObject([{ name: "Watchman", examples: [], cost: { tokens: 0 } }]);
  const turns = await chat(["Who is at the gate?", "And now?"], "--persona", "Watchman", ...data);
  expect(turns).toHaveLength(4);
  await succeed("persona", "remove", "Watchman", ...data);
  expect(JSON.parse(await succeed("persona", "list", "--json", ...data))).toEqual([]);

  const audit = ["audit", "Who is at the gate?", ...data];
  const held = JSON.parse(await succeed(...audit, "--json"));
  expect(held).toMatchObject({ finding: "holds", messages: [{}, {}] });
  const db = new BetterSqlite3(path.join(at("data"), "tarn.sqlite"));
  db.exec("UPDATE messages SET text = text || ' No.' WHERE role = 'assistant'");
  db.close();
  const { status, stdout } = await tarn(...audit);
  expect(status).toBe(1);
  expect(stdout).toContain("DIFFERS    The text of the answer");
  const elsewhere = await tarn(...audit, "--backend", "reference", "--json");
  expect(JSON.parse(elsewhere.stdout).messages[0].parts.at(-1)).toMatchObject({
    part: "state",
    finding: "unknown",
  });
});

test("what is wrong is said", async () => {
  const data = ["--data", at("empty")];
  for (const [args, status, says] of [
    [["persona", "add", "X", ...data], 2, "--prompt is missing"],
    [["persona", "show", "X", ...data], 1, "There is no persona"],
    [["persona", "rename", "X", ...data], 2, "Say list, show NAME"],
    [["audit", "nothing", ...data], 1, "There is no chat"],
    [["audit", ...data], 2, "Name one chat"],
  ] as const) {
    const ended = await tarn(...args);
    expect(ended.stderr).toContain(says);
    expect(ended.status).toBe(status);
  }
});
