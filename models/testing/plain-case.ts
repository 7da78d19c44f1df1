import type { Backend } from "../../kernels/spec/backend.ts";
import { expectAllClose } from "../../kernels/testing/all-close.ts";
import { LOGITS } from "../../kernels/testing/tolerances.ts";
import { memoryFile } from "../weights/memory-file.ts";
import type { RandomAccessFile } from "../weights/source.ts";
import type { Rows } from "./plain-layers.ts";
import { safetensorsFile, type TestTensor } from "./stored-tensors.ts";
import { loadTestModel } from "./test-model.ts";

/** A model and the logits that plain loops give for some tokens. */
export interface PlainCase {
  readonly files: readonly RandomAccessFile[];
  readonly ids: readonly number[];
  readonly logits: Rows;
}

/** A model folder in memory. */
export function folderOf(
  config: object,
  tensors: ReadonlyMap<string, TestTensor>,
  names: { readonly config: string; readonly weights: string } = {
    config: "config.json",
    weights: "model.safetensors",
  },
): readonly RandomAccessFile[] {
  return [
    memoryFile(names.config, new TextEncoder().encode(JSON.stringify(config))),
    { ...safetensorsFile(tensors), name: names.weights },
  ];
}

/** Fails unless a backend gives the logits, for the whole prompt and for pieces of it. */
export async function expectPlain(backend: Backend, given: PlainCase): Promise<void> {
  const { files, ids, logits: expected } = given;
  const loaded = await loadTestModel(backend, files);
  for (const chunk of [ids.length, 3]) {
    const state = loaded.createState(1);
    const logits = await loaded.run(state, [ids], { phase: "prefill", logits: "all", chunk });
    expectAllClose(logits, expected.flat(), LOGITS, `logits in chunks of ${chunk}`);
    state.release();
  }
  loaded.release();
}
