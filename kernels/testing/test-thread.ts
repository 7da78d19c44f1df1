import { Worker } from "node:worker_threads";
import type { ThreadPort } from "../spec/backend.ts";

/** Starts a thread of the WASM backend from its source (Node strips the types). */
export function spawnTestThread(): ThreadPort {
  const worker = new Worker(new URL("../../main/engine/wasm-thread.ts", import.meta.url));
  worker.unref();
  return {
    postMessage: (message, transfer) =>
      worker.postMessage(message, transfer === undefined ? [] : [...transfer]),
    onMessage: (listener) => void worker.on("message", listener),
    onError: (listener) => void worker.on("error", listener),
    terminate: () => void worker.terminate(),
  };
}
