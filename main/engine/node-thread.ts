import { Worker } from "node:worker_threads";
import type { ThreadPort } from "../../kernels/spec/backend.ts";

/** Starts one thread of the WASM backend: main/engine/wasm-thread.ts, which the build puts beside this file's bundle. */
export function spawnNodeThread(): ThreadPort {
  const worker = new Worker(new URL("./wasm-thread.js", import.meta.url));
  // The engine's worker decides when the program ends, not a thread that waits for work.
  worker.unref();
  return {
    postMessage: (message, transfer) =>
      worker.postMessage(message, transfer === undefined ? [] : [...transfer]),
    onMessage: (listener) => void worker.on("message", listener),
    onError(listener) {
      worker.on("error", listener);
      worker.on("exit", (code) => {
        if (code !== 0)
          listener(new Error(`a thread of the WASM backend ended with status ${code}`));
      });
    },
    terminate: () => void worker.terminate(),
  };
}
