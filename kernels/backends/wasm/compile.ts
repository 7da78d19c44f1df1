import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import type { Plugin } from "vite";

const VIRTUAL = "virtual:wasm-kernels";
const RESOLVED = `\0${VIRTUAL}`;
const kernels = fileURLToPath(new URL("../..", import.meta.url));
const root = dirname(kernels);
const entry = join("kernels", "backends", "wasm", "module.wasm.ts");
const cache = join(root, "node_modules", ".cache", "tarn-wasm-kernels");

/** Both forms of the one module: `plain` needs fixed-width SIMD and threads, `relaxed` also relaxed SIMD. */
const VARIANTS = {
  plain: ["simd", "threads"],
  relaxed: ["simd", "threads", "relaxed-simd"],
} as const;

const OPTIONS = [
  "-O3",
  "--converge",
  "--noAssert",
  "--runtime",
  "stub",
  "--use",
  "abort=",
  "--importMemory",
  "--sharedMemory",
  "--initialMemory",
  "1",
  "--maximumMemory",
  "65536",
] as const;

/**
 * Resolves `virtual:wasm-kernels` to the bytes of the kernels' WebAssembly module, compiled from AssemblyScript when
 * its sources changed (kept in node_modules/.cache).
 */
export function wasmKernels(): Plugin {
  return {
    name: "tarn:wasm-kernels",
    resolveId: (id) => (id === VIRTUAL ? RESOLVED : undefined),
    async load(id) {
      if (id !== RESOLVED) return undefined;
      const sources = await readSources();
      for (const path of sources.keys()) this.addWatchFile(join(root, path));
      const modules = await Promise.all(
        Object.entries(VARIANTS).map(async ([variant, features]) => {
          const bytes = await compileCached(sources, features);
          return `export const ${variant} = decode("${bytes.toString("base64")}");`;
        }),
      );
      return [
        "const decode = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));",
        ...modules,
      ].join("\n");
    },
  };
}

async function readSources(): Promise<Map<string, string>> {
  const names = (await readdir(kernels, { recursive: true }))
    .filter((name) => name.endsWith(".wasm.ts"))
    .sort();
  const entries = await Promise.all(
    names.map(async (name) => {
      const path = join(kernels, name);
      return [relative(root, path), await readFile(path, "utf8")] as const;
    }),
  );
  return new Map(entries);
}

async function compileCached(
  sources: ReadonlyMap<string, string>,
  features: readonly string[],
): Promise<Buffer> {
  const hash = createHash("sha256").update(
    JSON.stringify([asc.version, OPTIONS, features, ...sources]),
  );
  const file = join(cache, `${hash.digest("hex").slice(0, 32)}.wasm`);
  try {
    return await readFile(file);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
  const bytes = await compile(features);
  await mkdir(cache, { recursive: true });
  await writeFile(file, bytes);
  return bytes;
}

/** @throws Error with the compiler's messages */
async function compile(features: readonly string[]): Promise<Buffer> {
  let bytes: Uint8Array | undefined;
  const stderr = asc.createMemoryStream();
  const { error } = await asc.main(
    [
      entry,
      "--baseDir",
      root,
      "--outFile",
      "kernels.wasm",
      ...OPTIONS,
      ...features.flatMap((name) => ["--enable", name]),
    ],
    {
      stderr,
      writeFile(_name, contents) {
        if (typeof contents !== "string") bytes = contents;
      },
    },
  );
  if (error !== null || bytes === undefined)
    throw new Error(`the WebAssembly kernels do not compile:\n${stderr.toString()}`);
  return Buffer.from(bytes);
}
