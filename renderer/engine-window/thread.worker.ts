/** Entry of one thread of the WASM backend. */
import { runWasmThread } from "../../kernels/backends/wasm/thread.ts";

runWasmThread({
  postMessage: (message: unknown) => self.postMessage(message),
  onMessage: (listener: (message: unknown) => void) =>
    self.addEventListener("message", ({ data }) => listener(data)),
});
