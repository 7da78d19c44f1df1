import { parseArgs } from "node:util";
import { FORMATS, type Format } from "./make-model.ts";
import { MODEL_SHAPES, type ModelName } from "./shapes.ts";

export const usage = `Usage: npm run bench:peers -- [--cpu] [--chromium] [--gpu] [options]

Measures Tarn and other engines in turn, on the same files, and says which is how much faster.

  --cpu             WebAssembly against llama.cpp's CPU build (this is done where nothing is named)
  --chromium        Tarn and wllama in the same Chromium
  --gpu             WebGPU against llama.cpp's Vulkan build, and its CUDA build where nvcc is there
  --models LIST     ${Object.keys(MODEL_SHAPES).join(", ")}
                    (mamba-130m,mamba2-130m)
  --formats LIST    ${Object.keys(FORMATS).join(", ")} (q8_0; with --gpu f16)
  --peers LIST      of those that fit: llama.cpp, wllama, vulkan, cuda, torch (all that fit)
  --prompt LIST     lengths of the prompts (512)
  --decode N        tokens to decode after a prompt of 16 (64)
  --runs N          timed runs of each engine, taken in turn (3)
  --threads N       of both engines on the CPU (2)
  --busy PERCENT    waits until the rest of the machine is less busy than this (10), at most a minute
  --folder DIR      where the models are written (a folder in the system's temporary one)
  --llama-cuda DIR  a folder with llama.cpp's libraries, CUDA's among them, instead of building it
  --write           keeps the results in docs/benchmarks.json, and writes docs/benchmarks.md from it`;

export type Place = "cpu" | "chromium" | "gpu";
export type PeerName = "llama.cpp" | "wllama" | "vulkan" | "cuda" | "torch";

/** What each place is measured against. */
export const PEERS_OF: Readonly<Record<Place, readonly PeerName[]>> = {
  cpu: ["llama.cpp"],
  chromium: ["wllama"],
  gpu: ["vulkan", "cuda", "torch"],
};

export interface BenchOptions {
  readonly places: readonly Place[];
  readonly models: readonly ModelName[];
  /** null: the usual one of each place. */
  readonly formats: readonly Format[] | null;
  readonly peers: readonly PeerName[];
  readonly prompts: readonly number[];
  readonly decode: number;
  readonly runs: number;
  readonly threads: number;
  /** Share of the machine, 0 … 1, that others may use while it is measured. */
  readonly busy: number;
  readonly folder: string | null;
  readonly cudaLibraries: string | null;
  readonly write: boolean;
}

/** @throws RangeError naming the option that is wrong, and what it may be */
export function readOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    strict: true,
    options: {
      cpu: { type: "boolean", default: false },
      chromium: { type: "boolean", default: false },
      gpu: { type: "boolean", default: false },
      models: { type: "string", default: "mamba-130m,mamba2-130m" },
      formats: { type: "string" },
      peers: { type: "string" },
      prompt: { type: "string", default: "512" },
      decode: { type: "string", default: "64" },
      runs: { type: "string", default: "3" },
      threads: { type: "string", default: "2" },
      busy: { type: "string", default: "10" },
      folder: { type: "string" },
      "llama-cuda": { type: "string" },
      write: { type: "boolean", default: false },
    },
  });
  const named = (["cpu", "chromium", "gpu"] as const).filter((place) => values[place]);
  const places: readonly Place[] = named.length === 0 ? ["cpu"] : named;
  const fitting = places.flatMap((place) => PEERS_OF[place]);
  return {
    places,
    models: oneOf("--models", values.models, Object.keys(MODEL_SHAPES) as ModelName[]),
    formats:
      values.formats === undefined
        ? null
        : oneOf("--formats", values.formats, Object.keys(FORMATS) as Format[]),
    peers: values.peers === undefined ? fitting : oneOf("--peers", values.peers, fitting),
    prompts: values.prompt.split(",").map((part) => count("--prompt", part, 1_000_000)),
    decode: count("--decode", values.decode, 1_000_000),
    runs: count("--runs", values.runs, 1000),
    threads: count("--threads", values.threads, 256),
    busy: count("--busy", values.busy, 100) / 100,
    folder: values.folder ?? null,
    cudaLibraries: values["llama-cuda"] ?? null,
    write: values.write,
  };
}

function oneOf<T extends string>(option: string, list: string, allowed: readonly T[]): T[] {
  return list.split(",").map((part) => {
    const found = allowed.find((name) => name === part.trim());
    if (found !== undefined) return found;
    throw new RangeError(`${option} has "${part}"; it can have ${allowed.join(", ")}.`);
  });
}

function count(option: string, text: string, max: number): number {
  const number = /^\d+$/.test(text.trim()) ? Number(text) : NaN;
  if (number >= 1 && number <= max) return number;
  throw new RangeError(`${option} has "${text}"; it must be a whole number from 1 to ${max}.`);
}
