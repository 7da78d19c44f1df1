import { Worker } from "node:worker_threads";
import type { EngineClient } from "./client.ts";
import { nameSoftwareDriver } from "./node-vulkan.ts";
import { createPortClient } from "./port-client.ts";

/**
 * Starts the engine in a worker thread of this process: the bundle of node-worker.ts, which the build puts beside
 * this file's bundle. The thread does not keep the process alive; `close` ends it and its own threads.
 *
 * @param program that bundle, where this file itself was not bundled
 */
export function startNodeEngine(
  program: URL = new URL("./node-worker.js", import.meta.url),
): EngineClient {
  nameSoftwareDriver();
  const worker = new Worker(program, { name: "engine" });
  let calls = 0;
  const client = createPortClient({
    postMessage: (message) => worker.postMessage(message),
    onMessage: (listener) => void worker.on("message", listener),
    onClosed(listener) {
      worker.on("error", listener);
      worker.on("exit", (code) => listener(new Error(`its thread exited with status ${code}`)));
    },
    close: async () => void (await worker.terminate()),
  });
  worker.unref();
  return {
    // A program waits for the answers that it asked for, and for nothing else.
    async call(method, input, options) {
      if (calls++ === 0) worker.ref();
      try {
        return await client.call(method, input, options);
      } finally {
        if (--calls === 0) worker.unref();
      }
    },
    close: () => client.close(),
  };
}
