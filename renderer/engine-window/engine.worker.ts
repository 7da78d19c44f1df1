/** Entry of the Web Worker in which the engine runs: gives it files, threads and WebGPU. */
import type { ThreadPort } from "../../kernels/spec/backend.ts";
import { startEngine } from "../../models/engine/worker.ts";
import { openRemoteFile } from "./remote-file.ts";

self.addEventListener("message", start, { once: true });

function start(event: MessageEvent): void {
  const port = event.ports[0];
  if (port === undefined) throw new Error("The engine was started without a port.");
  startEngine({
    port: {
      // Copied, not moved: Electron's end of a channel to the main process does not take transferred buffers.
      postMessage: (message) => port.postMessage(message),
      onMessage: (listener) => {
        port.addEventListener("message", ({ data }) => listener(data));
        port.start();
      },
    },
    openFile: openRemoteFile,
    requestGpu: async () => navigator.gpu ?? null,
    // Threads share one buffer, and browsers give that to isolated pages only.
    spawnThread: self.crossOriginIsolated ? spawnWebThread : null,
    cores: navigator.hardwareConcurrency,
  });
}

function spawnWebThread(): ThreadPort {
  const worker = new Worker(new URL("./thread.worker.ts", import.meta.url), {
    type: "module",
    name: "wasm",
  });
  return {
    postMessage: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    onMessage: (listener) => worker.addEventListener("message", ({ data }) => listener(data)),
    onError: (listener) =>
      worker.addEventListener("error", ({ message }) => listener(new Error(message))),
    terminate: () => worker.terminate(),
  };
}
