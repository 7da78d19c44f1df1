/**
 * The tests beside the code: in Node (`*.test.ts`) and in Chromium (`*.browser.test.ts`, `*.test.tsx`). Both have WebGPU from
 * SwiftShader, the software adapter that Debian's chromium brings. Where it is missing, nothing runs: a suite that
 * skips its shaders proves nothing.
 */
import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import { defineConfig } from "vitest/config";
import { wasmKernels } from "../kernels/backends/wasm/compile.ts";
import { CHROMIUM, CHROMIUM_ARGS, ISOLATION, SWIFTSHADER } from "./chromium.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

export default defineConfig({
  root,
  cacheDir: "node_modules/.vite",
  plugins: [wasmKernels()],
  test: {
    // Far above what any test takes, even where a software GPU shares two slow cores with others: a limit ends what hangs, and judges nothing.
    testTimeout: 1_800_000,
    hookTimeout: 1_800_000,
    teardownTimeout: 120_000,
    // By itself vitest leaves one core free, which is half of a machine with two.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "node",
          environment: "node",
          include: ["{kernels,models,main,renderer,e2e}/**/*.test.ts"],
          exclude: ["**/*.browser.test.ts", "**/node_modules/**"],
          setupFiles: ["e2e/properties.setup.ts"],
          env: { VK_ICD_FILENAMES: SWIFTSHADER, VK_DRIVER_FILES: SWIFTSHADER },
        },
      },
      {
        extends: true,
        server: { headers: ISOLATION },
        // Named here, they are prepared in one go: found one by one, they would bring a second React into a running test.
        optimizeDeps: {
          include: [
            "react",
            "react-dom",
            "react-dom/client",
            "react/jsx-dev-runtime",
            "react-markdown",
            "remark-gfm",
            "lucide-react",
            "zod",
          ],
        },
        test: {
          name: "chromium",
          include: ["{kernels,models,renderer}/**/*.browser.test.ts", "renderer/**/*.test.tsx"],
          browser: {
            enabled: true,
            headless: true,
            screenshotFailures: false,
            connectTimeout: 300_000,
            provider: playwright({
              launchOptions: { executablePath: CHROMIUM, args: CHROMIUM_ARGS, timeout: 300_000 },
            }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});
