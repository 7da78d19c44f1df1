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
  --threads N       of both engines on the CPU (2; with --gpu all cores, for what a peer leaves to the CPU)
  --busy PERCENT    waits until the rest of the machine is less busy than this (10), at most a minute
  --seconds N       ends in about N seconds with status 2; the same command goes on where it was, until all is measured
  --folder DIR      where the models are written (a folder in the system's temporary one)
  --prepare         makes the models and the peer's f32 answers, and measures nothing
  --llama-cuda DIR  a folder with llama.cpp's libraries, CUDA's among them, instead of building it
  --cuda-architecture N  what to compile it for, such as 90 (that of the first GPU)
  --cublas DIR      a folder with include/cublas_v2.h and lib/libcublas.so.N (the toolkit's, or PyTorch's)
  --write           keeps the results in docs/benchmarks.json, and writes docs/benchmarks.md from it
  --report          only writes docs/benchmarks.md, from what is kept and docs/benchmarks-findings.json

Of Tarn alone, behind what is above or, with --alone, instead of it:
  --batch N         N branches of one state in one pass, against one of them
  --sampled         decode with tokens drawn in place of the likeliest; with --batch, of the branches too
  --flat N          decode and memory behind N tokens, against behind 1,000
  --profile         every kernel's time, bytes and FLOP in decode and in the longest prompt
  --start           the default model from a cold process to the first text, on --threads
  --alone           no peers`;

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
  /** null: 2, and on a GPU's machine all cores. */
  readonly threads: number | null;
  /** Share of the machine, 0 … 1, that others may use while it is measured. */
  readonly busy: number;
  /** Of one call; null: until all is measured. */
  readonly seconds: number | null;
  readonly folder: string | null;
  readonly prepare: boolean;
  readonly cudaLibraries: string | null;
  readonly cudaArchitecture: string | null;
  readonly cublas: string | null;
  readonly alone: boolean;
  readonly batch: number | null;
  readonly sampled: boolean;
  readonly flat: number | null;
  readonly profile: boolean;
  readonly start: boolean;
  readonly write: boolean;
  readonly report: boolean;
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
      threads: { type: "string" },
      busy: { type: "string", default: "10" },
      seconds: { type: "string" },
      folder: { type: "string" },
      prepare: { type: "boolean", default: false },
      "llama-cuda": { type: "string" },
      "cuda-architecture": { type: "string" },
      cublas: { type: "string" },
      alone: { type: "boolean", default: false },
      batch: { type: "string" },
      sampled: { type: "boolean", default: false },
      flat: { type: "string" },
      profile: { type: "boolean", default: false },
      start: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      report: { type: "boolean", default: false },
    },
  });
  const named = (["cpu", "chromium", "gpu"] as const).filter((place) => values[place]);
  const places: readonly Place[] = named.length === 0 ? ["cpu"] : named;
  if (
    values.seconds !== undefined &&
    (values.sampled || (values.batch ?? values.flat) !== undefined)
  )
    throw new RangeError(
      "--seconds goes with peers; --batch, --sampled and --flat are measured in one call.",
    );
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
    threads: optional("--threads", values.threads, 1, 256),
    busy: count("--busy", values.busy, 100) / 100,
    seconds: optional("--seconds", values.seconds, 1, 1_000_000),
    folder: values.folder ?? null,
    prepare: values.prepare,
    cudaLibraries: values["llama-cuda"] ?? null,
    cudaArchitecture: architecture(values["cuda-architecture"]),
    cublas: values.cublas ?? null,
    alone: values.alone,
    batch: optional("--batch", values.batch, 2, 1024),
    sampled: values.sampled,
    flat: optional("--flat", values.flat, 1001, 10_000_000),
    profile: values.profile,
    start: values.start,
    write: values.write,
    report: values.report,
  };
}

function oneOf<T extends string>(option: string, list: string, allowed: readonly T[]): T[] {
  return list.split(",").map((part) => {
    const found = allowed.find((name) => name === part.trim());
    if (found !== undefined) return found;
    throw new RangeError(`${option} has "${part}"; it can have ${allowed.join(", ")}.`);
  });
}

function count(option: string, text: string, max: number, min = 1): number {
  const number = /^\d+$/.test(text.trim()) ? Number(text) : NaN;
  if (number >= min && number <= max) return number;
  throw new RangeError(`${option} has "${text}"; it must be a whole number from ${min} to ${max}.`);
}

function optional(
  option: string,
  text: string | undefined,
  min: number,
  max: number,
): number | null {
  return text === undefined ? null : count(option, text, max, min);
}

/** "90", "90a": what nvcc calls sm_90, sm_90a. */
function architecture(text: string | undefined): string | null {
  if (text === undefined || /^\d{2,3}[af]?$/.test(text)) return text ?? null;
  throw new RangeError(`--cuda-architecture has "${text}"; it must be like 90 or 90a.`);
}
