/** Which files on disk make a model. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ModelFile } from "../../../models/engine/protocol.ts";
import { TarnError } from "../../contract/errors.ts";

/** A file of a model, as the engine opens it. */
export interface FoundFile extends ModelFile {
  /** Time of the last change, ms. */
  readonly changed: number;
}

/** Files of a model folder that the engine reads: configurations and weights of the layouts that models come in. */
const FOLDER_FILES = /^(config|generation_config|params)\.json$|\.safetensors(\.index\.json)?$/;
/** llama.cpp's name for a part of a split model, numbered from 1. */
const PART = /^(?<stem>.*)-(?<number>\d{5})-of-(?<count>\d{5})\.gguf$/;

/**
 * The files of the model at `path`: a GGUF file with the parts beside it, or a folder's configuration and
 * safetensors, or its only GGUF model.
 * @throws TarnError `not-found`, `weights`
 */
export async function modelFiles(path: string): Promise<FoundFile[]> {
  const facts = await stat(path).catch((cause: unknown) => {
    throw new TarnError("not-found", `There is no model at ${path}.`, { path }, cause);
  });
  if (!facts.isDirectory()) return find(dirname(path), await partsOf(path));
  const names = (await readdir(path)).toSorted();
  const belonging = names.filter((name) => FOLDER_FILES.test(name));
  if (belonging.some((name) => name.endsWith(".safetensors"))) return find(path, belonging);
  const [first, second] = firstParts(names);
  if (first === undefined) {
    throw new TarnError("weights", `${path} holds neither safetensors nor a GGUF file.`, { path });
  }
  if (second !== undefined) {
    throw new TarnError(
      "weights",
      `${path} holds several GGUF models (${first}, ${second}, …). Name the one you mean.`,
      { path },
    );
  }
  return find(path, await partsOf(join(path, first)));
}

/** The paths of the models in a folder: GGUF files (a split one once, by its first part) and folders with a configuration. */
export async function modelsIn(folder: string): Promise<string[]> {
  const items = await readdir(folder, { withFileTypes: true }).catch(ignoreMissing);
  const found: string[] = [];
  const gguf = new Set(firstParts(items.map(({ name }) => name)));
  for (const item of items.toSorted((a, b) => a.name.localeCompare(b.name))) {
    const path = join(folder, item.name);
    if (gguf.has(item.name)) found.push(path);
    else if (item.isDirectory() && (await isModelFolder(path))) found.push(path);
  }
  return found;
}

async function isModelFolder(path: string): Promise<boolean> {
  for (const name of ["config.json", "params.json"]) {
    if ((await stat(join(path, name)).catch(() => null)) !== null) return true;
  }
  const items = await readdir(path).catch(ignoreMissing);
  return firstParts(items).length > 0;
}

/** GGUF files that begin a model. */
export function firstParts(names: readonly string[]): string[] {
  return names.filter((name) => {
    const number = PART.exec(name)?.groups?.["number"];
    return name.endsWith(".gguf") && (number === undefined || Number(number) === 1);
  });
}

/** The names of all parts of the model that the GGUF file at `path` belongs to; a part that is missing is not among them. */
async function partsOf(path: string): Promise<string[]> {
  const name = basename(path);
  const own = PART.exec(name)?.groups;
  if (own === undefined) return [name];
  return (await readdir(dirname(path)))
    .filter((other) => {
      const part = PART.exec(other)?.groups;
      return part?.["stem"] === own["stem"] && part?.["count"] === own["count"];
    })
    .toSorted();
}

function find(folder: string, names: readonly string[]): Promise<FoundFile[]> {
  return Promise.all(
    names.map(async (name) => {
      const open = join(folder, name);
      const { size, mtimeMs } = await stat(open);
      return { name, open, bytes: size, changed: mtimeMs };
    }),
  );
}

function ignoreMissing(cause: unknown): [] {
  if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return [];
  throw cause;
}
