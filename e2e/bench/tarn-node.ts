/** Tarn's engine under Node, bundled for the benchmark alone: whatever else is being worked on need not build. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { startNodeEngine } from "../../main/engine/node-host.ts";
import type { BackendChoice } from "../../models/engine/protocol.ts";
import { withModel, type TarnEngine } from "./tarn.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const outDir = path.join(root, "out/bench/engine");

/**
 * Builds the engine's worker and its threads, as main/vite.node.config.ts does for the product.
 * @returns their folder; TARN_BENCH_ENGINE names one that is there already
 */
export async function buildEngine(): Promise<string> {
  const given = process.env["TARN_BENCH_ENGINE"];
  if (given !== undefined) return path.resolve(given);
  const { build } = await import("vite");
  const { wasmKernels } = await import("../../kernels/backends/wasm/compile.ts");
  await build({
    configFile: false,
    root,
    publicDir: false,
    logLevel: "warn",
    plugins: [wasmKernels()],
    build: {
      ssr: true,
      target: "node22",
      outDir,
      minify: false,
      rolldownOptions: {
        input: {
          "node-worker": path.join(root, "main/engine/node-worker.ts"),
          "wasm-thread": path.join(root, "main/engine/wasm-thread.ts"),
        },
        checks: { pluginTimings: false },
        output: { format: "es", entryFileNames: "[name].js", chunkFileNames: "[name].js" },
      },
    },
  });
  return outDir;
}

/** Of the bundle's files: other where anything was changed that is measured. */
export async function engineDigest(bundle: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(bundle)).toSorted())
    if (name.endsWith(".js")) hash.update(name).update(await readFile(path.join(bundle, name)));
  return hash.digest("hex");
}

/**
 * The engine in a worker thread of this process.
 * @param bundle from {@link buildEngine}
 */
export async function openTarn(
  bundle: string,
  file: { readonly path: string; readonly bytes: number },
  backend: BackendChoice,
  threads: number,
): Promise<TarnEngine> {
  const client = startNodeEngine(pathToFileURL(path.join(bundle, "node-worker.js")));
  return await withModel(client, file, backend, threads);
}
