import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { defaultDataFolder, prepareDataFolder } from "./data-folder.ts";

test("lies where each platform keeps such data, unless TARN_HOME says otherwise", () => {
  expect(defaultDataFolder("linux", {}, "/home/a")).toBe("/home/a/.local/share/tarn");
  expect(defaultDataFolder("linux", { XDG_DATA_HOME: "/data" }, "/home/a")).toBe("/data/tarn");
  expect(defaultDataFolder("linux", { XDG_DATA_HOME: "data" }, "/home/a")).toBe(
    "/home/a/.local/share/tarn",
  );
  expect(defaultDataFolder("darwin", {}, "/Users/a")).toBe(
    "/Users/a/Library/Application Support/Tarn",
  );
  expect(defaultDataFolder("linux", { TARN_HOME: "/elsewhere" }, "/home/a")).toBe("/elsewhere");
});

test("is made for this user alone, and what is in its way is said", () => {
  const folder = mkdtempSync(join(tmpdir(), "tarn-data-"));
  try {
    const made = prepareDataFolder(join(folder, "new"));
    expect(statSync(made).mode & 0o077).toBe(0);
    writeFileSync(join(folder, "file"), "");
    expect(() => prepareDataFolder(join(folder, "file"))).toThrow(
      /cannot be made or used .* Choose another one with --data/,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
