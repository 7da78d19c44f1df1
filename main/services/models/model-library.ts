/** Which models there are: bundled ones, those in the data folder, and those that the user pointed at. */
import { basename, extname, isAbsolute, resolve } from "node:path";
import { z } from "zod";
import { UnknownArchitectureError } from "../../../models/arch/errors.ts";
import { describeModel } from "../../../models/arch/registry.ts";
import { WeightsError } from "../../../models/weights/errors.ts";
import { openModel } from "../../../models/weights/open-model.ts";
import type { RandomAccessFile } from "../../../models/weights/source.ts";
import type { ModelFile } from "../../../models/engine/protocol.ts";
import type { ModelEntry } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { Store } from "../../store/store.ts";
import { modelFiles, modelsIn, type FoundFile } from "./model-files.ts";

export interface ModelLibrary {
  list(): Promise<ModelEntry[]>;
  /** @throws TarnError `not-found` */
  get(modelId: string): Promise<ModelEntry>;
  /** Remembers a GGUF file or a model folder. @throws TarnError `not-found`, `weights`, `unknown-architecture` */
  add(path: string): Promise<ModelEntry>;
  /** What this run was started with, in place of the chosen model; null where nothing was said. @throws as `add` */
  given(): Promise<ModelEntry | null>;
  /** What the engine is asked to load. */
  files(entry: ModelEntry): Promise<ModelFile[]>;
}

/** How a file is opened for reads of ranges. */
export type OpenFile = (path: string) => Promise<RandomAccessFile>;

/**
 * @param folders where the bundled models and the user's own lie
 * @param given a full path for this run alone: it is neither listed nor remembered
 */
export function createModelLibrary(
  store: Store,
  folders: { readonly bundled: string; readonly own: string },
  openFile: OpenFile,
  given: string | null = null,
): ModelLibrary {
  const inspected = new Map<string, { readonly stamp: string; readonly entry: ModelEntry }>();

  async function inspect(path: string, bundled: boolean): Promise<ModelEntry> {
    const files = await modelFiles(path);
    const stamp = files.map((file) => `${file.name}:${file.bytes}:${file.changed}`).join();
    const known = inspected.get(path);
    if (known?.stamp === stamp) return known.entry;
    const entry = await readEntry(path, files, bundled, openFile);
    inspected.set(path, { stamp, entry });
    return entry;
  }

  async function added(): Promise<string[]> {
    const stored = await store.run("readSettings", {});
    const parsed = z.array(z.string()).safeParse(stored["addedModels"]);
    return parsed.success ? parsed.data : [];
  }

  async function list(): Promise<ModelEntry[]> {
    const entries: ModelEntry[] = [];
    const places = [
      ...(await modelsIn(folders.bundled)).map((path) => ({ path, bundled: true })),
      ...(await modelsIn(folders.own)).map((path) => ({ path, bundled: false })),
      ...(await added()).map((path) => ({ path, bundled: false })),
    ];
    for (const { path, bundled } of places) {
      if (!entries.some((entry) => entry.path === path)) entries.push(await inspect(path, bundled));
    }
    return entries;
  }

  /** @throws TarnError for a path that is not full, is not there, or holds no model that runs */
  async function supported(path: string): Promise<ModelEntry> {
    if (!isAbsolute(path))
      throw new TarnError(
        "bad-request",
        `"${path}" is not a full path. Give the path of a GGUF file or a model folder from the root.`,
        { path },
      );
    const entry = await inspect(resolve(path), false);
    if (!entry.supported)
      throw new TarnError(
        entry.modelType === "" ? "weights" : "unknown-architecture",
        entry.reason ?? "This model cannot be used.",
        { path },
      );
    return entry;
  }

  return {
    list,
    async get(modelId) {
      const entry = (await list()).find((one) => one.id === modelId);
      if (entry === undefined)
        throw new TarnError(
          "not-found",
          `The model "${modelId}" is not there any more. Choose another one under Models.`,
          { modelId },
        );
      return entry;
    },
    given: async () => (given === null ? null : supported(given)),
    async add(path) {
      const entry = await supported(path);
      const paths = await added();
      if (!paths.includes(entry.path))
        await store.run("writeSettings", { values: { addedModels: [...paths, entry.path] } });
      return entry;
    },
    async files(entry) {
      return (await modelFiles(entry.path)).map(({ name, open, bytes }) => ({ name, open, bytes }));
    },
  };
}

async function openAll(
  files: readonly FoundFile[],
  openFile: OpenFile,
): Promise<RandomAccessFile[]> {
  const opened: RandomAccessFile[] = [];
  try {
    for (const file of files) opened.push(await openFile(file.open));
    return opened;
  } catch (cause) {
    await Promise.all(opened.map((file) => file.close()));
    throw cause;
  }
}

async function readEntry(
  path: string,
  files: readonly FoundFile[],
  bundled: boolean,
  openFile: OpenFile,
): Promise<ModelEntry> {
  const format = files.some(({ name }) => extname(name) === ".gguf") ? "gguf" : "safetensors";
  const entry = {
    id: bundled ? `bundled/${basename(path)}` : path,
    name: basename(path, ".gguf"),
    path,
    format,
    bytes: files.reduce((sum, file) => sum + file.bytes, 0),
    bundled,
  } as const;
  try {
    const model = await openModel(await openAll(files, openFile));
    try {
      const { modelType } = describeModel(model.config, model.tensors);
      return { ...entry, modelType, supported: true, reason: null };
    } finally {
      await model.close();
    }
  } catch (cause) {
    if (cause instanceof UnknownArchitectureError) {
      const reason = `"${entry.name}" is of the architecture "${cause.modelType}", which Tarn does not run yet. It runs ${cause.known.join(", ")}.`;
      return { ...entry, modelType: cause.modelType, supported: false, reason };
    }
    if (!(cause instanceof WeightsError)) throw cause;
    const remedy =
      cause.code === "unsupported"
        ? "The file is as it should be; Tarn does not run this variant yet."
        : "Nothing was changed; download it again.";
    return {
      ...entry,
      modelType: "",
      supported: false,
      reason: `This model cannot be read. ${cause.message} ${remedy}`,
    };
  }
}
