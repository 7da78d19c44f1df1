import { createReferenceBackend } from "../backends/reference/backend.ts";
import type { Backend, BackendName } from "../spec/backend.ts";

/**
 * Opens a backend in Node for tests.
 * @throws Error naming the package to install, if WebGPU finds no adapter
 */
export async function openBackend(name: BackendName): Promise<Backend> {
  switch (name) {
    case "reference":
      return createReferenceBackend();
    case "wasm":
      throw new Error("the wasm backend is not there yet");
    case "webgpu":
      throw new Error("the webgpu backend is not there yet");
  }
}
