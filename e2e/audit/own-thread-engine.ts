import type { EngineClient } from "../../main/engine/client.ts";
import { openNodeFile } from "../../main/engine/node-file.ts";
import { createPortClient } from "../../main/engine/port-client.ts";
import { startEngine } from "../../models/engine/worker.ts";

/** The engine from its sources, on the thread of the test, on one core; its messages come as late as those of a real port. */
export function startOwnThreadEngine(): EngineClient {
  let toEngine: (message: unknown) => void = () => undefined;
  let toClient: (message: unknown) => void = () => undefined;
  startEngine({
    port: {
      postMessage: (message) => void setImmediate(() => toClient(message)),
      onMessage: (listener) => {
        toEngine = listener;
      },
    },
    openFile: openNodeFile,
    requestGpu: async () => null,
    spawnThread: null,
    cores: 1,
  });
  return createPortClient({
    postMessage: (message) => void setImmediate(() => toEngine(message)),
    onMessage: (listener) => {
      toClient = listener;
    },
    onClosed: () => undefined,
    close: async () => undefined,
  });
}
