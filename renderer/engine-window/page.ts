/** The hidden engine window: starts the engine's Web Worker and hands it the port that main sends. It shows nothing. */
import { ENGINE_PORT_CHANNEL } from "../../main/contract/bridge.ts";

window.addEventListener("message", (event) => {
  const port = event.ports[0];
  if (event.source !== window || event.data !== ENGINE_PORT_CHANNEL || port === undefined) return;
  const worker = new Worker(new URL("./engine.worker.ts", import.meta.url), {
    type: "module",
    name: "engine",
  });
  // The page goes with its worker: main hears that the process is gone, and says so.
  worker.addEventListener("error", (error) => {
    console.error(error.message);
    window.close();
  });
  worker.postMessage(null, [port]);
});
