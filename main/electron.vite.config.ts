/**
 * The desktop program: main process, preloads and the hidden engine window. The window that people see is the same
 * build that the browser shell serves (renderer/vite.config.ts).
 */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "electron-vite";
import { wasmKernels } from "../kernels/backends/wasm/compile.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

export default defineConfig({
  main: {
    root,
    publicDir: false,
    build: {
      outDir: "out/main",
      emptyOutDir: true,
      sourcemap: true,
      rolldownOptions: {
        // Worker threads are found by name beside the file that starts them, so the bundles lie flat in one folder.
        input: {
          index: "main/index.ts",
          "store.worker": "main/store/store.worker.ts",
          "extract.worker": "main/services/documents/extract.worker.ts",
        },
        output: { format: "es", entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" },
      },
    },
  },
  preload: {
    root,
    publicDir: false,
    build: {
      outDir: "out/preload",
      emptyOutDir: true,
      // A sandboxed preload is CommonJS in one file, and can load nothing but `electron`.
      externalizeDeps: false,
      isolatedEntries: true,
      rolldownOptions: {
        input: { index: "main/preload/index.ts", engine: "main/preload/engine.ts" },
        output: { format: "cjs", entryFileNames: "[name].cjs" },
      },
    },
  },
  renderer: {
    root: path.join(root, "renderer/engine-window"),
    base: "./",
    publicDir: false,
    plugins: [wasmKernels()],
    worker: { format: "es", plugins: () => [wasmKernels()] },
    build: {
      outDir: path.join(root, "out/engine-window"),
      emptyOutDir: true,
      sourcemap: true,
      // Chromium of the Electron that ships; nothing older will ever run it.
      target: "chrome140",
      rolldownOptions: { input: path.join(root, "renderer/engine-window/index.html") },
    },
  },
});
