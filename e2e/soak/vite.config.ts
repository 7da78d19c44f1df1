/** The soak's programs with the threads that they start, as main/vite.node.config.ts builds the product's. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { wasmKernels } from "../../kernels/backends/wasm/compile.ts";

export default defineConfig({
  root: fileURLToPath(new URL("../..", import.meta.url)),
  publicDir: false,
  clearScreen: false,
  plugins: [wasmKernels()],
  build: {
    ssr: true,
    target: "node22",
    outDir: "out/soak",
    emptyOutDir: false,
    minify: false,
    rolldownOptions: {
      input: {
        "soak-app": "e2e/soak/soak-app.ts",
        "soak-replay": "e2e/soak/soak-replay.ts",
        "node-worker": "main/engine/node-worker.ts",
        "wasm-thread": "main/engine/wasm-thread.ts",
        "store.worker": "main/store/store.worker.ts",
        "extract.worker": "main/services/documents/extract.worker.ts",
      },
      checks: { pluginTimings: false },
      output: { format: "es", entryFileNames: "[name].js", chunkFileNames: "[name].js" },
    },
  },
});
