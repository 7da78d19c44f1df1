/** The tests of the built programs (`*.e2e.ts`), one at a time: each starts servers and browsers of its own. */
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { PATIENCE } from "./app.ts";

export default defineConfig({
  root: fileURLToPath(new URL("..", import.meta.url)),
  test: {
    name: "e2e",
    environment: "node",
    include: ["e2e/**/*.e2e.ts"],
    fileParallelism: false,
    // Each waits for several things, and each of those for PATIENCE at most.
    testTimeout: 1_800_000,
    hookTimeout: 1_800_000,
    teardownTimeout: 120_000,
    expect: { poll: { timeout: PATIENCE } },
  },
});
