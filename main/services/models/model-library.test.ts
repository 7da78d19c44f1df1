import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openNodeFile } from "../../engine/node-file.ts";
import { openStore, type Store } from "../../store/store.ts";
import { createModelLibrary, type ModelLibrary } from "./model-library.ts";

const bundled = fileURLToPath(new URL("../../../resources/models", import.meta.url));
let folder: string;
let store: Store;
let library: ModelLibrary;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-models-"));
  mkdirSync(join(folder, "models"));
  store = await openStore({ file: join(folder, "tarn.sqlite"), maxPages: null });
  library = createModelLibrary(store, { bundled, own: join(folder, "models") }, openNodeFile);
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true, force: true });
});

test("the bundled model is found without configuration", async () => {
  expect(await library.list()).toMatchObject([
    {
      id: "bundled/tarn-default-25m-Q8_0.gguf",
      format: "gguf",
      modelType: "mamba2",
      supported: true,
      bundled: true,
      bytes: 26_946_560,
    },
  ]);
});

test("a model of the data folder and one that was pointed at are listed, the latter after a restart too", async () => {
  const name = "tarn-default-25m-Q8_0.gguf";
  copyFileSync(join(bundled, name), join(folder, "models/own.gguf"));
  copyFileSync(join(bundled, name), join(folder, "elsewhere.gguf"));
  expect(await library.add(join(folder, "elsewhere.gguf"))).toMatchObject({
    name: "elsewhere",
    supported: true,
  });
  const again = createModelLibrary(store, { bundled, own: join(folder, "models") }, openNodeFile);
  expect((await again.list()).map((entry) => entry.name)).toEqual([
    "tarn-default-25m-Q8_0",
    "own",
    "elsewhere",
  ]);
});

test("a model that a run was started with is neither listed nor remembered, and refused like any other", async () => {
  const path = join(folder, "given.gguf");
  copyFileSync(join(bundled, "tarn-default-25m-Q8_0.gguf"), path);
  const folders = { bundled, own: join(folder, "models") };
  const started = createModelLibrary(store, folders, openNodeFile, path);
  expect(await started.given()).toMatchObject({ id: path, supported: true });
  expect(await started.list()).toHaveLength(1);
  expect(await library.list()).toHaveLength(1);
  expect(await library.given()).toBeNull();
  const absent = createModelLibrary(store, folders, openNodeFile, join(folder, "none.gguf"));
  await expect(absent.given()).rejects.toMatchObject({ code: "not-found" });
});

test("a broken file is listed with its reason, and refused", async () => {
  const path = join(folder, "models/broken.gguf");
  writeFileSync(path, "GGUF");
  expect((await library.list())[1]).toMatchObject({
    name: "broken",
    supported: false,
    reason: expect.stringContaining("cannot be read"),
  });
  await expect(library.add(path)).rejects.toMatchObject({ code: "weights" });
  await expect(library.add("relative.gguf")).rejects.toMatchObject({ code: "bad-request" });
  await expect(library.add(join(folder, "none.gguf"))).rejects.toMatchObject({ code: "not-found" });
});

test("a model of an architecture that nobody runs is listed with its reason", async () => {
  const path = join(folder, "models/other");
  mkdirSync(path);
  writeFileSync(join(path, "config.json"), '{"model_type": "gpt2"}');
  const header = new TextEncoder().encode("{}");
  writeFileSync(
    join(path, "model.safetensors"),
    Buffer.concat([Uint8Array.of(header.length, 0, 0, 0, 0, 0, 0, 0), header]),
  );
  const reason = expect.stringContaining("does not run yet. It runs ");
  expect((await library.list())[1]).toMatchObject({ modelType: "gpt2", supported: false, reason });
  await expect(library.add(path)).rejects.toMatchObject({ code: "unknown-architecture" });
});
