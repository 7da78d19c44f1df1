import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { TarnError } from "../contract/errors.ts";
import type { EngineClient } from "../engine/client.ts";
import { startNodeEngine } from "../engine/node-host.ts";
import type { ModelFile, ModelInfo } from "../../models/engine/protocol.ts";
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

/**
 * The files of a model, as the engine opens them: a GGUF file alone, or a folder's configuration and safetensors.
 * @throws TarnError `not-found`, `weights`
 */
export async function modelFiles(model: string): Promise<ModelFile[]> {
  const found = await stat(model).catch(() => null);
  if (found === null)
    throw new TarnError("not-found", `There is no model at ${model}.`, { path: model });
  if (found.isFile()) return [{ name: path.basename(model), open: model, bytes: found.size }];
  const names = (await readdir(model)).toSorted();
  const belonging = names.filter(
    (name) => name.endsWith(".safetensors") || configurationNames.has(name),
  );
  const gguf = names.filter((name) => name.endsWith(".gguf"));
  const chosen = belonging.some((name) => name.endsWith(".safetensors")) ? belonging : gguf;
  const [first, second] = gguf;
  if (chosen === gguf && first !== undefined && second !== undefined) {
    throw new TarnError(
      "weights",
      `${model} holds several GGUF files (${first}, ${second}, …). Name the one you mean.`,
      { path: model },
    );
  }
  if (chosen.length === 0) {
    throw new TarnError("weights", `${model} holds neither safetensors nor a GGUF file.`, {
      path: model,
    });
  }
  return await Promise.all(
    chosen.map(async (name) => {
      const open = path.join(model, name);
      return { name, open, bytes: (await stat(open)).size };
    }),
  );
}

const configurationNames = new Set([
  "config.json",
  "generation_config.json",
  "model.safetensors.index.json",
]);

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
      files,
      backend: options.backend,
      quantise: options.quantise,
      threads: options.threads,
    });
    for (const notice of model.notices) note(notice);
    return await use(engine, model, file);
  });
}
