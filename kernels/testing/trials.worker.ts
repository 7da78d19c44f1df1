/** A Web Worker for tests: runs every op of op-trials.ts on the backend that the message names, and posts the results. */
import { createReferenceBackend } from "../backends/reference/backend.ts";
import { createWasmBackend } from "../backends/wasm/backend.ts";
import { createWebGpuBackend } from "../backends/webgpu/backend.ts";
import type { Backend, BackendName, ThreadPort } from "../spec/backend.ts";
import type { OpResult } from "./op-runner.ts";
import { opTrials } from "./op-trials.ts";

/** What the worker posts, once. */
export type TrialsReply =
  | {
      readonly device: Backend["device"];
      readonly results: Readonly<Record<string, OpResult<string>>>;
    }
  | { readonly failed: string };

self.onmessage = async ({ data }: MessageEvent<BackendName>) => {
  let reply: TrialsReply;
  try {
    reply = await runTrials(data);
  } catch (error) {
    reply = { failed: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
  self.postMessage(reply);
};

async function runTrials(name: BackendName): Promise<TrialsReply> {
  const backend = await open(name);
  const results: Record<string, OpResult<string>> = {};
  for (const [trial, run] of Object.entries(opTrials)) results[trial] = await run(backend);
  await backend.release();
  return { device: backend.device, results };
}

async function open(name: BackendName): Promise<Backend> {
  switch (name) {
    case "reference":
      return createReferenceBackend();
    case "wasm":
      return createWasmBackend({ threads: 2, spawnThread });
    case "webgpu": {
      const backend = await createWebGpuBackend({ gpu: navigator.gpu, allowSoftware: true });
      if (backend === null) throw new Error("the browser gives this worker no WebGPU adapter");
      return backend;
    }
  }
}

function spawnThread(): ThreadPort {
  const worker = new Worker(new URL("./wasm-thread.worker.ts", import.meta.url), {
    type: "module",
  });
  return {
    postMessage: (message, transfer) =>
      worker.postMessage(message, transfer === undefined ? [] : [...transfer]),
    onMessage: (listener) => worker.addEventListener("message", ({ data }) => listener(data)),
    onError: (listener) =>
      worker.addEventListener("error", ({ message }) => listener(new Error(message))),
    terminate: () => worker.terminate(),
  };
}
