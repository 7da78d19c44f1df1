/**
 * llama.cpp's CUDA backend from source: the packages' own build wants a newer driver than many machines have. The backend is
 * a library that ggml loads beside the others, so only it is compiled; everything else is the packages' CPU build. Without
 * the kernels of flash attention, which no pure state-space model uses, and of number formats that nothing here measures:
 * they take most of the time. What is compiled stays: a build that was broken off goes on where it was.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readdir, rename, stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { LIBRARIES, llamaSource } from "./llama.ts";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));
const out = path.join(here, "../../out/bench");

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
  "-compress-mode=size",
  "-Xcompiler",
  "-fPIC",
];

/** The formats of FORMATS in make-model.ts, and what their mixes use: all other products are left-out-formats.cu's. */
const MEASURED_PRODUCTS = /mmq-instance-(q8_0|q4_0|q4_k|q5_k|q6_k)\.cu$/;

/** Where the machine does not say it itself. */
export interface CudaOptions {
  /** "90": the compute capability to compile for; null for that of the first GPU. */
  readonly cudaArchitecture: string | null;
  /** A folder with include/cublas_v2.h and lib/libcublas.so.N; null for the toolkit's or PyTorch's. */
  readonly cublas: string | null;
}

/**
 * A folder with llama.cpp's libraries, CUDA's among them; takes minutes the first time.
 * @throws Error naming what is missing
 */
export async function cudaLibraries(options: CudaOptions): Promise<string> {
  const architecture = options.cudaArchitecture ?? (await gpuArchitecture());
  const flags = [...FLAGS, "-gencode", `arch=compute_${architecture},code=sm_${architecture}`];
  const { stdout: compiler } = await run("nvcc", ["--version"]);
  const built = path.join(out, `cuda-${digest([...flags, compiler])}`);
  const library = path.join(built, "libggml-cuda.so");
  if (existsSync(library)) return built;
  const cublas = await findCublas(options.cublas);
  const objects = await compile(built, flags, cublas.include);
  await cp(LIBRARIES.cpu, built, { recursive: true });
  await nvcc([
    "-shared",
    "-o",
    `${library}.new`,
    ...objects,
    `-L${built}`,
    "-lggml-base",
    ...byName(cublas.library),
    ...byName(await findDriver(path.dirname(cublas.library))),
    "-Xlinker",
    `-rpath,$ORIGIN:${path.dirname(cublas.library)}`,
  ]);
  await rename(`${library}.new`, library);
  return built;
}

/** nvcc takes no library by its path unless that ends with .so. */
function byName(library: string): string[] {
  return [`-L${path.dirname(library)}`, `-l:${path.basename(library)}`];
}

/** @throws Error with the end of what the compiler said */
async function nvcc(args: readonly string[], cwd?: string): Promise<void> {
  await run("nvcc", args, cwd === undefined ? {} : { cwd }).catch((error: unknown) => {
    const said = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    throw new Error(`nvcc failed: ${said.split("\n").slice(-5).join("\n") || String(error)}`);
  });
}

/** Compiles what is not compiled yet. @returns the object files */
async function compile(
  built: string,
  flags: readonly string[],
  cublas: string,
): Promise<readonly string[]> {
  const source = path.join(await llamaSource(), "ggml/src/ggml-cuda");
  const folder = path.join(built, "objects");
  await mkdir(folder, { recursive: true });
  const names = await readdir(source, { recursive: true });
  const files = [
    ...names.filter(
      (name) =>
        name.endsWith(".cu") &&
        !name.includes("fattn") &&
        (!name.includes("mmq-instance") || MEASURED_PRODUCTS.test(name)),
    ),
    path.join(here, "no-flash-attention.cu"),
    path.join(here, "left-out-formats.cu"),
  ];
  const objectOf = (file: string): string => path.join(folder, `${path.basename(file, ".cu")}.o`);
  const missing = files.filter((file) => !existsSync(objectOf(file)));
  if (missing.length > 0)
    console.error(
      `llama.cpp's CUDA backend: ${missing.length} of ${files.length} files are to be compiled …`,
    );
  const include = ["..", "../../include", source, cublas].map((each) => `-I${each}`);
  await inParallel(await largestFirst(source, missing), async (file) => {
    // Under another name until it is whole.
    const object = objectOf(file);
    const unfinished = `${object}.${process.pid}`;
    await nvcc([...flags, ...include, "-c", file, "-o", unfinished], source);
    await rename(unfinished, object);
  });
  return files.map(objectOf);
}

function digest(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 12);
}

/** Whether there is a compiler for CUDA. */
export async function hasNvcc(): Promise<boolean> {
  return await run("nvcc", ["--version"]).then(
    () => true,
    () => false,
  );
}

/** "90": the compute capability of the first GPU. @throws Error where there is no GPU to ask */
async function gpuArchitecture(): Promise<string> {
  const { stdout } = await run("nvidia-smi", [
    "--query-gpu=compute_cap",
    "--format=csv,noheader",
  ]).catch((error: unknown) => {
    throw new Error(
      "nvidia-smi does not say for which GPU to compile; --cuda-architecture 90 (for one) does.",
      { cause: error },
    );
  });
  const found = /^(\d+)\.(\d+)/.exec(stdout);
  if (found === null) throw new Error(`nvidia-smi names no compute capability: ${stdout.trim()}`);
  return `${found[1]}${found[2]}`;
}

/** cuBLAS of the given folder, of the toolkit, or of PyTorch's packages. @throws Error where there is none */
async function findCublas(
  given: string | null,
): Promise<{ readonly include: string; readonly library: string }> {
  const program =
    "import nvidia, glob, os\nfor root in list(nvidia.__path__):\n  for found in glob.glob(root + '/**/cublas_v2.h', recursive=True): print(os.path.dirname(found))";
  const places =
    given === null
      ? [
          "/usr/local/cuda/include",
          ...(await run("python3", ["-c", program]).then(
            ({ stdout }) => stdout.trim().split("\n"),
            () => [],
          )),
        ]
      : [path.resolve(given, "include")];
  for (const include of places) {
    if (!existsSync(path.join(include, "cublas_v2.h"))) continue;
    for (const folder of ["../lib64", "../lib"]) {
      const place = path.join(include, folder);
      const names = existsSync(place) ? await readdir(place) : [];
      const name = names.find((each) => /^libcublas\.so\.\d+$/.test(each));
      if (name !== undefined) return { include, library: path.join(place, name) };
    }
  }
  throw new Error(
    `llama.cpp's CUDA build needs cuBLAS (cublas_v2.h with libcublas.so.N in ../lib): it is not in ${places.join(", ")}. --cublas DIR names another place.`,
  );
}

/** The driver's library, or the stub of it that the toolkit has to link with. @throws Error where there is neither */
async function findDriver(besideCublas: string): Promise<string> {
  const toolkit = "/usr/local/cuda/targets/x86_64-linux/lib/stubs";
  const system = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64"];
  for (const folder of [toolkit, "/usr/local/cuda/lib64/stubs", ...system, besideCublas])
    for (const name of ["libcuda.so", "libcuda.so.1"]) {
      const file = path.join(folder, name);
      if (existsSync(file)) return file;
    }
  throw new Error(
    `llama.cpp's CUDA build is linked with libcuda.so, of the driver or the toolkit: it is not in ${[toolkit, ...system].join(", ")}, and not beside cuBLAS (${besideCublas}).`,
  );
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
