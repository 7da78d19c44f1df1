import { createReferenceBackend } from "../backends/reference/backend.ts";
import { createWasmBackend } from "../backends/wasm/backend.ts";
import { createWebGpuBackend } from "../backends/webgpu/backend.ts";
import type { Backend, BackendName } from "../spec/backend.ts";
import { softwareGpu } from "./software-gpu.ts";
import { spawnTestThread } from "./test-thread.ts";

/**
 * Opens a backend in Node for tests.
 * @throws Error naming the package to install, if WebGPU finds no adapter
 */
export async function openBackend(name: BackendName): Promise<Backend> {
  switch (name) {
    case "reference":
      return createReferenceBackend();
    case "wasm":
      return createWasmBackend({ threads: 2, spawnThread: spawnTestThread });
    case "webgpu":
      return openWebGpu();
  }
}

async function openWebGpu(): Promise<Backend> {
  const backend = await createWebGpuBackend({ gpu: await softwareGpu(), allowSoftware: true });
  if (backend !== null) return backend;
  throw new Error(
    'WebGPU finds no adapter: install the Debian package "chromium", whose SwiftShader the tests run on',
  );
}
