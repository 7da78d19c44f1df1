/** Damaged configurations of every architecture: described and checked against the weights, or refused with a typed error. */
import { readdirSync } from "node:fs";
import { test } from "vitest";
import { fixtureText } from "../../kernels/testing/golden.ts";
import { slotSize } from "../../kernels/spec/tensor.ts";
import { fuzz } from "../testing/fuzz.ts";
import { damagedJson } from "../testing/mutations.ts";
import { fixtureModel } from "../testing/test-model.ts";
import { parseConfig } from "../weights/config.ts";
import { WeightsError } from "../weights/errors.ts";
import { modelTypeOf } from "../weights/model-type.ts";
import { openModel } from "../weights/open-model.ts";
import type { TensorSource } from "../weights/source.ts";
import { UnknownArchitectureError } from "./errors.ts";
import { describeModel } from "./registry.ts";
import { checkingLoader } from "./weight-loader.ts";

const FOLDERS = readdirSync(new URL("../../e2e/fixtures/models", import.meta.url), {
  withFileTypes: true,
})
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

test("config.json", async () => {
  const models: { readonly folder: string; readonly config: unknown }[] = [];
  const sources = new Map<string, TensorSource>();
  for (const folder of FOLDERS) {
    const opened = await openModel(fixtureModel(folder));
    sources.set(folder, opened.tensors);
    models.push({ folder, config: JSON.parse(fixtureText(`models/${folder}/config.json`)) });
  }
  await fuzz(
    damagedJson(models.map(({ folder, config }) => [folder, config])),
    async (input) => {
      const [folder, config]: readonly unknown[] = Array.isArray(input) ? input : [];
      const tensors = typeof folder === "string" ? sources.get(folder) : undefined;
      if (tensors === undefined) return;
      const bytes = new TextEncoder().encode(JSON.stringify(config));
      const json = parseConfig(bytes, "config.json");
      const modelType = modelTypeOf(json);
      const model = describeModel({ format: "safetensors", modelType, json }, tensors);
      model.layout.forEach(slotSize);
      await model.load(checkingLoader(tensors, { quantise: null }));
    },
    (error) => error instanceof WeightsError || error instanceof UnknownArchitectureError,
  );
});
