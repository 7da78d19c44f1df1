import { readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { TarnError } from "../contract/errors.ts";
import type { EngineClient } from "../engine/client.ts";
import { startNodeEngine } from "../engine/node-host.ts";
import type { ModelInfo } from "../../models/engine/protocol.ts";
import { modelFiles } from "../services/models/model-files.ts";
import type { CommonOptions } from "./options.ts";
import { note } from "./output.ts";

/** What ships beside the program, seen from the bundle in out/node. */
export const resourcesFolder = fileURLToPath(new URL("../../resources", import.meta.url));
const bundledModels = path.join(resourcesFolder, "models");

/**
 * The path of the model to use: the one that was asked for, else the one that ships.
 * @throws TarnError `no-model`
 */
export async function modelPath({ model }: Pick<CommonOptions, "model">): Promise<string> {
  if (model !== null) return path.resolve(model);
  const names = await readdir(bundledModels).catch((): string[] => []);
  const bundled = names.find((name) => name.endsWith(".gguf"));
  if (bundled === undefined)
    throw new TarnError(
      "no-model",
      "No model ships with this copy of Tarn. Give one with --model.",
    );
  return path.join(bundledModels, bundled);
}

/** Runs `use` with an engine that ends with it, however it ends. */
export async function withEngine<T>(use: (engine: EngineClient) => Promise<T>): Promise<T> {
  const engine = startNodeEngine();
  try {
    return await use(engine);
  } finally {
    await engine.close();
  }
}

/** Runs `use` with the model of the command line loaded; what the engine has to say goes to standard error. */
export async function withModel<T>(
  options: CommonOptions,
  use: (engine: EngineClient, model: ModelInfo, path: string) => Promise<T>,
): Promise<T> {
  const file = await modelPath(options);
  const files = await modelFiles(file);
  return await withEngine(async (engine) => {
    const model = await engine.call("load", {
      files: files.map(({ name, open, bytes }) => ({ name, open, bytes })),
      backend: options.backend,
      quantise: options.quantise,
      kvDtype: options.kv,
      threads: options.threads,
    });
    for (const notice of model.notices) note(notice);
    return await use(engine, model, file);
  });
}
