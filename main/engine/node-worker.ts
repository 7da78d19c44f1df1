/** Entry of the Node worker thread in which the engine runs: gives it files, threads and WebGPU. */
import { availableParallelism } from "node:os";
import { parentPort } from "node:worker_threads";
import { startEngine } from "../../models/engine/worker.ts";
import { openNodeFile } from "./node-file.ts";
import { requestNodeGpu } from "./node-gpu.ts";
import { spawnNodeThread } from "./node-thread.ts";

const port = parentPort;
if (port === null)
  throw new Error("node-worker.ts is the entry of a worker thread and was started as a program");

startEngine({
  port: {
    postMessage: (message, transfer) =>
      port.postMessage(message, transfer === undefined ? [] : [...transfer]),
    onMessage: (listener) => void port.on("message", listener),
  },
  openFile: openNodeFile,
  requestGpu: requestNodeGpu,
  spawnThread: spawnNodeThread,
  cores: availableParallelism(),
});
