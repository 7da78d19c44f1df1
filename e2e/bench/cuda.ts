/**
 * llama.cpp's CUDA backend from source: the packages' own build wants a newer driver than many machines have. The backend is
 * a library that ggml loads beside the others, so only it is compiled; everything else is the packages' CPU build. Without
 * the kernels of flash attention, which no pure state-space model uses and which take most of the time.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { LIBRARIES, llamaSource } from "./llama.ts";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const built = path.join(here, "../../out/bench/cuda");

/** ggml's own definitions for a backend that is loaded at run time (ggml/src/CMakeLists.txt), and its flags for CUDA. */
const FLAGS = [
  "-std=c++17",
  "-O3",
  "-DNDEBUG",
  "-DGGML_BACKEND_DL",
  "-DGGML_BACKEND_BUILD",
  "-DGGML_BACKEND_SHARED",
  "-DGGML_SHARED",
  "-DGGML_SCHED_MAX_COPIES=4",
  "-DGGML_CUDA_USE_GRAPHS",
  "-DGGML_CUDA_NO_FA",
  "-D_GNU_SOURCE",
  "-use_fast_math",
  "-extended-lambda",
  "-Xcompiler",
  "-fPIC",
];

/**
 * A folder with llama.cpp's libraries, CUDA's among them; takes minutes the first time.
 * @throws Error naming what is missing
 */
export async function cudaLibraries(): Promise<string> {
  if (existsSync(path.join(built, "libggml-cuda.so"))) return built;
  const source = path.join(await llamaSource(), "ggml/src/ggml-cuda");
  const architecture = await gpuArchitecture();
  const cublas = await findCublas();
  const objects = path.join(built, "objects");
  await mkdir(objects, { recursive: true });
  const names = await readdir(source, { recursive: true });
  const files = [
    ...names.filter((name) => name.endsWith(".cu") && !name.includes("fattn")),
    path.join(here, "no-flash-attention.cu"),
  ];
  const flags = [
    ...FLAGS,
    "-gencode",
    `arch=compute_${architecture},code=sm_${architecture}`,
    ...["..", "../../include", source, cublas.include].map((folder) => `-I${folder}`),
  ];
  await inParallel(await largestFirst(source, files), async (file) => {
    const object = path.join(objects, `${path.basename(file, ".cu")}.o`);
    await run("nvcc", [...flags, "-c", file, "-o", object], { cwd: source });
  });
  await cp(LIBRARIES.cpu, built, { recursive: true });
  await run("nvcc", [
    "-shared",
    "-o",
    path.join(built, "libggml-cuda.so"),
    ...files.map((file) => path.join(objects, `${path.basename(file, ".cu")}.o`)),
    `-L${built}`,
    "-lggml-base",
    cublas.library,
    "-L/usr/local/cuda/lib64/stubs",
    "-lcuda",
    "-Xlinker",
    `-rpath,$ORIGIN:${path.dirname(cublas.library)}`,
  ]);
  return built;
}

/** Whether there is a compiler for CUDA. */
export async function hasNvcc(): Promise<boolean> {
  return await run("nvcc", ["--version"]).then(
    () => true,
    () => false,
  );
}

/** "90": the compute capability of the first GPU. */
async function gpuArchitecture(): Promise<string> {
  const { stdout } = await run("nvidia-smi", ["--query-gpu=compute_cap", "--format=csv,noheader"]);
  const found = /^(\d+)\.(\d+)/.exec(stdout);
  if (found === null) throw new Error(`nvidia-smi names no compute capability: ${stdout.trim()}`);
  return `${found[1]}${found[2]}`;
}

/** cuBLAS of the toolkit, or of PyTorch's packages. */
async function findCublas(): Promise<{ readonly include: string; readonly library: string }> {
  const program =
    "import nvidia, glob, os\nfor root in list(nvidia.__path__):\n  for found in glob.glob(root + '/**/cublas_v2.h', recursive=True): print(os.path.dirname(found))";
  const python = await run("python3", ["-c", program]).then(
    ({ stdout }) => stdout.trim().split("\n"),
    () => [],
  );
  for (const include of ["/usr/local/cuda/include", ...python]) {
    if (!existsSync(path.join(include, "cublas_v2.h"))) continue;
    for (const folder of ["../lib64", "../lib"]) {
      const place = path.join(include, folder);
      const names = existsSync(place) ? await readdir(place) : [];
      const name = names.find((each) => /^libcublas\.so\.\d+$/.test(each));
      if (name !== undefined) return { include, library: path.join(place, name) };
    }
  }
  throw new Error("There is no cuBLAS (cublas_v2.h), which llama.cpp's CUDA build needs.");
}

/** The slowest to compile at the start, so that no processor waits for one of them at the end. */
async function largestFirst(folder: string, files: readonly string[]): Promise<string[]> {
  const sized = await Promise.all(
    files.map(async (file) => {
      const heavy = /mmq-instance|mmvq|mmf-instance|ggml-cuda\.cu/.test(file);
      return { file, weight: heavy ? Infinity : (await stat(path.resolve(folder, file))).size };
    }),
  );
  return sized.toSorted((a, b) => b.weight - a.weight || 0).map(({ file }) => file);
}

async function inParallel(
  items: readonly string[],
  work: (item: string) => Promise<void>,
): Promise<void> {
  const left = [...items];
  await Promise.all(
    Array.from({ length: availableParallelism() }, async () => {
      for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
    }),
  );
}
