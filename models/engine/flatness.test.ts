import { expect, test } from "vitest";
import { createWasmBackend } from "../../kernels/backends/wasm/backend.ts";
import { filesOf, greedy, testEngine } from "../testing/test-engine.ts";
import type { EngineMethods } from "./protocol.ts";

test("memory behind 20,000 tokens is that behind 1,000, and a longer prompt needs no more workspace", async () => {
  const engine = testEngine([
    {
      name: "wasm",
      automatic: true,
      create: async () => await createWasmBackend({ threads: 1 }),
    },
  ]);
  await engine.call("load", {
    files: filesOf("mamba2"),
    backend: "auto",
    quantise: null,
    kvDtype: "f32",
    threads: null,
  });
  const { session } = await engine.call("create", {});
  const read = async (length: number): Promise<EngineMethods["memory"]["out"]> => {
    const ids = Int32Array.from({ length }, (_, index) => (7 * index) % 100);
    // Chunks of one length: every other last piece would be one more plan, each with a workspace of its own.
    await engine.call("prefill", { session, ids, chunk: 125, logits: "last" });
    await engine.call("generate", {
      session,
      sampler: greedy,
      stopIds: [],
      maxTokens: 8,
      keepLogits: false,
    });
    return await engine.call("memory", {});
  };
  const near = await read(1000);
  expect(await read(4000)).toEqual(near);
  expect(await read(15_000)).toEqual(near);
});
