import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { UnknownArchitectureError } from "../../../models/arch/errors.ts";
import { describeModel } from "../../../models/arch/registry.ts";
import { openModel } from "../../../models/weights/open-model.ts";
import { openNodeFile } from "../../engine/node-file.ts";
import { openStore, type Store } from "../../store/store.ts";
import { createModelLibrary, SUPPORTED_MODEL_TYPES, type ModelLibrary } from "./model-library.ts";

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

test("what is called supported is what the engine runs", async () => {
  const model = await openModel([await openNodeFile(join(bundled, "tarn-default-25m-Q8_0.gguf"))]);
  let known: readonly string[] = [];
  try {
    describeModel({ format: "safetensors", modelType: "none", json: {} }, model.tensors);
  } catch (cause) {
    if (!(cause instanceof UnknownArchitectureError)) throw cause;
    known = cause.known;
  }
  await model.close();
  expect([...SUPPORTED_MODEL_TYPES].toSorted()).toEqual([...known].toSorted());
});
