import { readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { TarnError } from "../contract/errors.ts";
import type { EngineClient } from "../engine/client.ts";
import { greedySampler } from "./greedy.ts";
import { readIds } from "./ids.ts";
import { withModel } from "./model.ts";
import { integer, parse, readCommon, required, UsageError } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";
import { tokenizerHashOf } from "./tokenizer.ts";

export const usage = `Usage: tarn state --model M --ids FILE.json --save FILE
       tarn state --model M --load FILE --greedy N

Saves the state behind the one prompt in FILE.json, [[id, …]], as a portable file; or continues from such a file with
N greedy tokens: {"greedy": [id, …], "prefilled": 0}, where "prefilled" counts prompt tokens that were run.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, {
    ids: { type: "string" },
    save: { type: "string" },
    load: { type: "string" },
    greedy: { type: "string" },
  });
  const common = readCommon(values);
  if ((values.save === undefined) === (values.load === undefined))
    throw new UsageError("Give either --save FILE or --load FILE.");
  if (values.save !== undefined) {
    const ids = await readIds(required("--ids", values.ids));
    const file = path.resolve(values.save);
    const saved = await withModel(
      common,
      async (engine, _model, model) => await save(engine, model, ids, file),
    );
    if (common.json) writeJson(saved);
    else writeResult(`${saved.file}: ${saved.position} tokens, ${saved.bytes} bytes\n`);
    return;
  }
  const count = integer("--greedy", required("--greedy", values.greedy), 0, 1_000_000);
  const file = path.resolve(required("--load", values.load));
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new TarnError(
      "not-found",
      `${file} could not be read: ${error instanceof Error ? error.message : String(error)}`,
      { file },
    );
  });
  writeJson(
    await withModel(
      common,
      async (engine, _model, model) => await resume(engine, model, bytes, count),
    ),
  );
}

async function save(engine: EngineClient, model: string, ids: Int32Array, file: string) {
  const { session } = await engine.call("create", {});
  const { position } = await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  const { bytes } = await engine.call("snapshot", {
    session,
    tokenizerHash: await tokenizerHashOf(model),
    pages: "all",
  });
  const partial = `${file}.${process.pid}.part`;
  try {
    await writeFile(partial, bytes);
    await rename(partial, file);
  } finally {
    await rm(partial, { force: true });
  }
  return { file, position, bytes: bytes.byteLength };
}

async function resume(engine: EngineClient, model: string, file: Uint8Array, count: number) {
  // A Buffer is a view into a larger pool; only the file's bytes cross the port.
  const bytes = new Uint8Array(file);
  const { session, position } = await engine.call("restore", {
    recent: new Int32Array(),
    bytes,
    tokenizerHash: await tokenizerHashOf(model),
  });
  const generated = await engine.call("generate", {
    session,
    sampler: greedySampler,
    stopIds: [],
    maxTokens: count,
    keepLogits: false,
  });
  // Whatever was run beyond the new tokens must have been the prompt.
  return {
    greedy: [...generated.ids],
    prefilled: generated.position - position - generated.ids.length,
  };
}
