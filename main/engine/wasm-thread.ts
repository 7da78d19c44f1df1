/** Entry of a Node worker thread that computes for the WASM backend. */
import { parentPort } from "node:worker_threads";
import { runWasmThread } from "../../kernels/backends/wasm/thread.ts";

const port = parentPort;
if (port === null)
  throw new Error("wasm-thread.ts is the entry of a worker thread and was started as a program");

runWasmThread({
  postMessage: (message, transfer) =>
    port.postMessage(message, transfer === undefined ? [] : [...transfer]),
  onMessage: (listener) => void port.on("message", listener),
});
