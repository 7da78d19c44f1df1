import { readFile } from "node:fs/promises";
import { TarnError } from "../contract/errors.ts";

/**
 * Reads prompts as `[[id, …], …]`. Whether a model knows the ids is the engine's check.
 * @throws TarnError `not-found`, `bad-request` naming the file and the place in it
 */
export async function readPrompts(file: string): Promise<Int32Array[]> {
  const value = await readJson(file);
  if (!Array.isArray(value) || value.length === 0)
    throw notPrompts(file, "it must be a list of prompts, each a list of ids");
  return value.map((prompt: unknown, index) => toIds(file, prompt, `prompt ${index}`));
}

/**
 * Reads one list of ids: `[id, …]`, or `[[id, …]]` with a single prompt.
 * @throws TarnError `not-found`, `bad-request`
 */
export async function readIds(file: string): Promise<Int32Array> {
  const value = await readJson(file);
  if (Array.isArray(value) && value.length === 1 && Array.isArray(value[0]))
    return toIds(file, value[0], "prompt 0");
  return toIds(file, value, "the file");
}

async function readJson(file: string): Promise<unknown> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw new TarnError(
      "not-found",
      `${file} could not be read: ${error instanceof Error ? error.message : String(error)}`,
      { file },
    );
  });
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    throw notPrompts(file, "it is not JSON");
  }
}

function toIds(file: string, value: unknown, where: string): Int32Array {
  if (!Array.isArray(value)) throw notPrompts(file, `${where} is not a list of ids`);
  const bad = value.findIndex((id) => !Number.isInteger(id) || id < 0 || id > 0x7fff_ffff);
  if (bad !== -1)
    throw notPrompts(
      file,
      `${where} holds ${JSON.stringify(value[bad])} at place ${bad}, which is no token id`,
    );
  return Int32Array.from(value);
}

function notPrompts(file: string, reason: string): TarnError {
  return new TarnError("bad-request", `${file}: ${reason}.`, { file });
}
