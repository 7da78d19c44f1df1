/** A thread of the WASM backend in a browser, for tests. */
import { runWasmThread } from "../backends/wasm/thread.ts";

runWasmThread({
  postMessage: (message, transfer) =>
    self.postMessage(message, { transfer: transfer === undefined ? [] : [...transfer] }),
  onMessage: (listener) => {
    self.onmessage = ({ data }: MessageEvent<unknown>) => listener(data);
  },
});
