/** The tests of the built programs (`*.e2e.ts`), one at a time: each starts servers and browsers of its own. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  test: {
    name: "e2e",
    environment: "node",
    include: ["e2e/**/*.e2e.ts"],
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    // A slow machine is no fault of the program.
    expect: { poll: { timeout: 60_000 } },
  },
});
