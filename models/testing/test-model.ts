import type { Backend, Executable, StateBuffers } from "../../kernels/spec/backend.ts";
import { recordPlan } from "../../kernels/plan/recorder.ts";
import { fixtureBytes } from "../../kernels/testing/golden.ts";
import type { LogitsWanted, Model, RecordRun, RunOptions } from "../arch/architecture.ts";
import { describeModel } from "../arch/registry.ts";
import { checkingLoader, uploadingLoader } from "../arch/weight-loader.ts";
import { memoryFile } from "../weights/memory-file.ts";
import { openModel } from "../weights/open-model.ts";
import type { RandomAccessFile } from "../weights/source.ts";

/** Time for loading a model in a test: a software GPU on a busy machine takes seconds. */
export const LOADING_MS = 240_000;

/** A model on a backend, ready to run; for tests. */
export interface TestModel {
  readonly model: Model;
  createState(batch: number): StateBuffers;
  /**
   * Runs `ids` (B, T) in chunks of at most `chunk` tokens and returns the logits that each chunk gave.
   * @param ids one list of ids a sequence, all of the same length
   */
  run(
    state: StateBuffers,
    ids: readonly ArrayLike<number>[],
    options: {
      readonly phase: RunOptions["phase"];
      readonly logits: LogitsWanted;
      readonly chunk?: number;
    },
  ): Promise<Float32Array>;
  release(): void;
}

/** Uploads a weight of the files to a backend, or something else in its place. */
export type UploadTestWeight = Backend["uploadWeight"];

/** Loads the model of some files onto a backend. */
export async function loadTestModel(
  backend: Backend,
  files: readonly RandomAccessFile[],
  upload: UploadTestWeight = (spec, read) => backend.uploadWeight(spec, read),
): Promise<TestModel> {
  const opened = await openModel(files);
  const model = describeModel(opened.config, opened.tensors);
  await model.load(checkingLoader(opened.tensors, { quantise: null }));
  const record = await model.load(uploadingLoader(opened.tensors, { quantise: null }, upload));
  await opened.close();
  const executables = new Map<string, Executable>();
  return {
    model,
    createState: (batch) => backend.createState(model.layout, batch),
    async run(state, ids, { phase, logits, chunk = Infinity }) {
      const batch = ids.length;
      const length = ids[0]?.length ?? 0;
      const pieces: Float32Array[] = [];
      for (let from = 0; from < length; from += chunk) {
        const T = Math.min(chunk, length - from);
        const executable = await prepare(
          executables,
          backend,
          model,
          record,
          { batch, length: T },
          { phase, logits },
        );
        const flat = Int32Array.from(
          ids.flatMap((sequence) => Array.from(sequence).slice(from, from + T)),
        );
        const [output] = await executable.run(flat, state, true);
        if (output !== undefined) pieces.push(output);
      }
      return Float32Array.from(pieces.flatMap((piece) => Array.from(piece)));
    },
    release() {
      for (const executable of executables.values()) executable.release();
    },
  };
}

/** The files of a folder of e2e/fixtures/models. */
export function fixtureModel(folder: string, config = "config.json"): readonly RandomAccessFile[] {
  return [
    memoryFile("config.json", fixtureBytes(`models/${folder}/${config}`)),
    memoryFile("model.safetensors", fixtureBytes(`models/${folder}/model.safetensors`)),
  ];
}

/** The largest value's place: the greedy token. */
export function argmax(values: Float32Array): number {
  return values.reduce((best, value, i) => (value > (values[best] ?? -Infinity) ? i : best), 0);
}

async function prepare(
  executables: Map<string, Executable>,
  backend: Backend,
  model: Model,
  record: RecordRun,
  shape: { readonly batch: number; readonly length: number },
  options: RunOptions,
): Promise<Executable> {
  const key = JSON.stringify([shape, options]);
  const known = executables.get(key);
  if (known !== undefined) return known;
  const executable = await backend.compile(
    recordPlan(shape, model.layout, (k) => record(k, options)),
  );
  executables.set(key, executable);
  return executable;
}
