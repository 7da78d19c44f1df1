import { createHash } from "node:crypto";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { TarnError } from "../contract/errors.ts";
import type { ModelInfo } from "../../models/engine/protocol.ts";
import type { EngineClient } from "../engine/client.ts";
import {
  isStateFile,
  readStateFile,
  writeStateFile,
  type StateFile,
} from "../services/state-files/state-file.ts";
import { greedySampler } from "./samplers.ts";
import { readIds } from "./ids.ts";
import { withModel } from "./model.ts";
import { integer, parse, readCommon, required, UsageError } from "./options.ts";
import { writeJson, writeResult } from "./output.ts";
import { tokenizerHashOf } from "./tokenizer.ts";

export const usage = `Usage: tarn state --model M --ids FILE.json --save FILE [--passphrase-file P] [--without-ids]
       tarn state --model M --load FILE --greedy N [--passphrase-file P]

Saves the state behind the one prompt in FILE.json, [[id, …]], as a portable file; or continues from such a file with
N greedy tokens: {"greedy": [id, …], "prefilled": 0}, where "prefilled" counts prompt tokens that were run.
The file is sealed: one changed byte, and it is refused. With --passphrase-file, whose first line is the passphrase, it is
encrypted too. --without-ids leaves the prompt itself out; the model can still be made to repeat much of what it has
read, so a state is as private as its text.`;

export async function run(args: readonly string[]): Promise<void> {
  const { values } = parse(args, {
    ids: { type: "string" },
    save: { type: "string" },
    load: { type: "string" },
    greedy: { type: "string" },
    "passphrase-file": { type: "string" },
    "without-ids": { type: "boolean" },
  });
  const common = readCommon(values);
  if ((values.save === undefined) === (values.load === undefined))
    throw new UsageError("Give either --save FILE or --load FILE.");
  const passphrase = await readPassphrase(values["passphrase-file"]);
  if (values.save !== undefined) {
    const ids = await readIds(required("--ids", values.ids));
    const file = path.resolve(values.save);
    const saved = await withModel(common, async (engine, info, model) => {
      const withIds = values["without-ids"] !== true;
      return await save(engine, info, model, { ids, withIds, file, passphrase });
    });
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
      async (engine, _info, model) => await resume(engine, model, { bytes, passphrase }, count),
    ),
  );
}

async function save(
  engine: EngineClient,
  info: ModelInfo,
  model: string,
  {
    ids,
    withIds,
    file,
    passphrase,
  }: {
    readonly ids: Int32Array;
    readonly withIds: boolean;
    readonly file: string;
    readonly passphrase: string | null;
  },
) {
  const { session } = await engine.call("create", {});
  const { position } = await engine.call("prefill", { session, ids, chunk: null, logits: "none" });
  const tokenizerHash = await tokenizerHashOf(model);
  const snapshot = await engine.call("snapshot", { session, tokenizerHash, pages: "all" });
  const prompt = new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);
  const contents: StateFile = {
    title: "",
    model: { name: info.name, modelHash: info.modelHash, tokenizerHash },
    createdAt: Date.now(),
    position,
    read: [
      {
        role: "user",
        name: null,
        tokens: ids.length,
        sha256: createHash("sha256").update(prompt).digest("hex"),
        text: null,
        ids: withIds ? new Uint8Array(prompt) : null,
      },
    ],
    snapshot: new Uint8Array(snapshot.bytes),
  };
  const bytes = await writeStateFile(contents, passphrase);
  const partial = `${file}.${process.pid}.part`;
  try {
    await writeFile(partial, bytes);
    await rename(partial, file);
  } finally {
    await rm(partial, { force: true });
  }
  return { file, position, bytes: bytes.byteLength };
}

async function resume(
  engine: EngineClient,
  model: string,
  file: { readonly bytes: Uint8Array; readonly passphrase: string | null },
  count: number,
) {
  // Before files had seals they were the engine's snapshot alone, which has a checksum of its own.
  const snapshot = isStateFile(file.bytes)
    ? (await readStateFile(file.bytes, file.passphrase)).snapshot
    : file.bytes;
  // Either may be a view into more; only the snapshot's bytes cross the port.
  const bytes = new Uint8Array(snapshot);
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

/** The first line of the file; null where none is named. @throws TarnError `not-found`, `bad-request` */
async function readPassphrase(file: string | undefined): Promise<string | null> {
  if (file === undefined) return null;
  const text = await readFile(path.resolve(file), "utf8").catch((error: unknown) => {
    throw new TarnError(
      "not-found",
      `${file} could not be read: ${error instanceof Error ? error.message : String(error)}`,
      { file },
    );
  });
  const [passphrase = ""] = text.split(/\r?\n/, 1);
  if (passphrase === "")
    throw new TarnError("bad-request", `${file} has no passphrase in its first line.`, { file });
  return passphrase;
}
