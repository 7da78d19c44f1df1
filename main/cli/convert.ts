import { open, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import {
  openConversion,
  QUANTISATIONS,
  type OpenConversion,
  type Quantisation,
} from "../../models/convert/convert.ts";
import { ConversionError } from "../../models/convert/errors.ts";
import { ggufBytes, type GgufEntries } from "../../models/convert/gguf-writer.ts";
import { UnknownArchitectureError } from "../../models/arch/errors.ts";
import { WeightsError } from "../../models/weights/errors.ts";
import type { RandomAccessFile } from "../../models/weights/source.ts";
import { TarnError } from "../contract/errors.ts";
import { openNodeFile } from "../engine/node-file.ts";
import { modelFiles } from "../services/models/model-files.ts";
import { readFolder } from "../services/tokenizer/load-tokenizer.ts";
import { tokenizerEntries } from "../services/tokenizer/to-gguf.ts";
import { parse, readCommon, required, UsageError } from "./options.ts";
import { note, writeJson } from "./output.ts";

export const usage = `Usage: tarn convert IN OUT --quant TYPE [--no-tokenizer] [--force]

Writes the model folder IN (safetensors) as the GGUF file OUT, under llama.cpp's names: the same file runs in both.
TYPE is ${Object.keys(QUANTISATIONS).join(", ")}; matrices whose rows are not whole blocks of it become Q8_0 or F16.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {
    quant: { type: "string" },
    "no-tokenizer": { type: "boolean" },
    force: { type: "boolean" },
  });
  const common = readCommon(values);
  const [from, to, more] = positionals;
  if (from === undefined || to === undefined || more !== undefined)
    throw new UsageError("Give a model folder and the file to write.");
  const quantisation = quantisationOf(required("--quant", values.quant));
  const out = path.resolve(to);
  if (values.force !== true && (await stat(out).catch(() => null)) !== null)
    throw new TarnError("bad-request", `${out} is there already. Replace it with --force.`, {
      path: out,
    });

  const folder = path.resolve(from);
  const files = await openAll((await modelFiles(folder)).map(({ open: file }) => file));
  const conversion = await openConversion(files, path.basename(folder), quantisation).catch(
    toTarnError,
  );
  try {
    for (const notice of conversion.notices) note(notice);
    const tokenizer: GgufEntries =
      values["no-tokenizer"] === true
        ? tokenizerEntries(null)
        : tokenizerEntries(await readFolder(folder), vocabSizeOf(conversion));
    const bytes = await write(
      out,
      ggufBytes([...conversion.entries, ...tokenizer], conversion.tensors),
    );
    const types: Record<string, number> = {};
    for (const { dtype } of conversion.tensors) types[dtype] = (types[dtype] ?? 0) + 1;
    const { modelType } = conversion;
    const result = { out, modelType, tensors: conversion.tensors.length, bytes, types };
    if (common.json) writeJson(result);
    else {
      const listed = Object.entries(types).map(([dtype, count]) => `${count} ${dtype}`);
      note(`Wrote ${out}: ${modelType}, ${bytes} bytes, tensors: ${listed.join(", ")}.`);
    }
  } finally {
    await conversion.close();
  }
}

function vocabSizeOf({ tensors }: OpenConversion): number {
  return tensors.find(({ name }) => name === "token_embd.weight")?.shape[0] ?? 0;
}

function quantisationOf(value: string): Quantisation {
  const name = value.toUpperCase();
  const known = Object.keys(QUANTISATIONS).find((one): one is Quantisation => one === name);
  if (known !== undefined) return known;
  throw new UsageError(
    `--quant is "${value}"; it can be ${Object.keys(QUANTISATIONS).join(", ")}.`,
  );
}

async function openAll(paths: readonly string[]): Promise<RandomAccessFile[]> {
  const opened: RandomAccessFile[] = [];
  try {
    for (const file of paths) opened.push(await openNodeFile(file));
    return opened;
  } catch (error) {
    await Promise.all(opened.map((file) => file.close()));
    throw error;
  }
}

/** Beside its place first, and moved there when it is complete and on the disk. */
async function write(out: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const partial = `${out}.${process.pid}.part`;
  const handle = await open(partial, "wx");
  let bytes = 0;
  try {
    for await (const piece of pieces) {
      await handle.writeFile(piece);
      bytes += piece.byteLength;
    }
    await handle.sync();
    await handle.close();
    await rename(partial, out);
    return bytes;
  } catch (error) {
    await handle.close();
    await rm(partial, { force: true });
    return toTarnError(error);
  }
}

function toTarnError(error: unknown): never {
  if (error instanceof WeightsError)
    throw new TarnError("weights", error.message, { file: error.file }, error);
  if (error instanceof ConversionError)
    throw new TarnError("bad-request", error.message, error.details, error);
  if (error instanceof UnknownArchitectureError)
    throw new TarnError("unknown-architecture", error.message, {}, error);
  throw error;
}
