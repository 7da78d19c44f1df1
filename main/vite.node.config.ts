/**
 * The bundles that Node runs: the command line, the browser shell's server and the worker threads beside them.
 * Everything of ours goes in; dependencies stay in node_modules.
 */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { wasmKernels } from "../kernels/backends/wasm/compile.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Worker threads are found by name beside the file that starts them, so every bundle lies flat in one folder. */
const entries = {
  cli: "main/cli/cli.ts",
  "node-worker": "main/engine/node-worker.ts",
  "wasm-thread": "main/engine/wasm-thread.ts",
  "store.worker": "main/store/store.worker.ts",
  "extract.worker": "main/services/documents/extract.worker.ts",
};

export default defineConfig({
  root,
  publicDir: false,
  clearScreen: false,
  plugins: [wasmKernels()],
  build: {
    ssr: true,
    target: "node22",
    outDir: "out/node",
    // A program that runs meanwhile must still find the pieces that it loads later: they keep their names.
    emptyOutDir: false,
    minify: false,
    sourcemap: true,
    rolldownOptions: {
      input: entries,
      // Compiling the WebAssembly kernels takes its time, and is not to be complained about.
      checks: { pluginTimings: false },
      output: { format: "es", entryFileNames: "[name].js", chunkFileNames: "[name].js" },
    },
  },
});
