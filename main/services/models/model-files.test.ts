import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { modelFiles, modelsIn } from "./model-files.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-files-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function put(...names: readonly string[]): void {
  for (const name of names) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), "x");
  }
}

async function namesOf(path: string): Promise<string[]> {
  return (await modelFiles(join(folder, path))).map(({ name }) => name);
}

test("a GGUF file is a model; of a split one all parts are, whichever is named", async () => {
  put("a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "b-00001-of-00003.gguf");
  expect(await namesOf("a.gguf")).toEqual(["a.gguf"]);
  const parts = ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"];
  expect(await namesOf("b-00001-of-00002.gguf")).toEqual(parts);
  expect(await namesOf("b-00002-of-00002.gguf")).toEqual(parts);
});

test("a folder's configuration and safetensors are a model, its only GGUF model else", async () => {
  put("hf/config.json", "hf/model.safetensors", "hf/README.md", "hf/extra.gguf");
  put("gg/m-00001-of-00002.gguf", "gg/m-00002-of-00002.gguf", "two/a.gguf", "two/b.gguf", "no/x");
  expect(await namesOf("hf")).toEqual(["config.json", "model.safetensors"]);
  expect(await namesOf("gg")).toEqual(["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
  await expect(namesOf("two")).rejects.toMatchObject({ code: "weights" });
  await expect(namesOf("no")).rejects.toMatchObject({ code: "weights" });
  await expect(namesOf("none")).rejects.toMatchObject({ code: "not-found" });
});

test("lists each model of a folder once", async () => {
  put("a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf", "hf/config.json", "no/x");
  put("gg/m-00001-of-00002.gguf", "gg/m-00002-of-00002.gguf");
  expect(await modelsIn(folder)).toEqual(
    ["a.gguf", "b-00001-of-00002.gguf", "gg", "hf"].map((name) => join(folder, name)),
  );
  expect(await modelsIn(join(folder, "none"))).toEqual([]);
});
