/** Tarn's engine in a page: the Web Worker of the desktop's engine window, asked from here. */
import { createPortClient } from "../../../main/engine/port-client.ts";
import type { BackendChoice } from "../../../models/engine/protocol.ts";
import type { Answer } from "../gate.ts";
import { withModel, type TarnEngine } from "../tarn.ts";

let engine: TarnEngine | null = null;

function loaded(): TarnEngine {
  if (engine === null) throw new Error("no model is loaded");
  return engine;
}

/** What the benchmark calls in this page. */
const measured = {
  /** Loads the model behind an address, and says on what it runs. */
  async load(address: string, bytes: number, backend: BackendChoice, threads: number) {
    if (!crossOriginIsolated) throw new Error("The page is not isolated: there are no threads.");
    const worker = new Worker(
      new URL("../../../renderer/engine-window/engine.worker.ts", import.meta.url),
      { type: "module" },
    );
    const { port1, port2 } = new MessageChannel();
    const client = createPortClient({
      postMessage: (message) => port1.postMessage(message),
      onMessage(listener) {
        port1.addEventListener("message", ({ data }) => listener(data));
        port1.start();
      },
      onClosed: (listener) =>
        worker.addEventListener("error", ({ message }) => listener(new Error(message))),
      close: async () => worker.terminate(),
    });
    worker.postMessage(null, [port2]);
    engine = await withModel(client, { path: address, bytes }, backend, threads);
    return { device: engine.device, weightBytes: engine.model.weightBytes };
  },
  prefill: (ids: readonly number[]) => loaded().prefill(ids),
  decode: (ids: readonly number[], count: number) => loaded().decode(ids, count),
  /** The logits as a list: what Playwright carries across. */
  async answer(ids: readonly number[], count: number) {
    const { logits, ...rest }: Answer = await loaded().answer(ids, count);
    return { ...rest, logits: logits === null ? null : [...logits] };
  },
};

/** The calls of this page, as the benchmark names them. */
export type MeasuredPage = typeof measured;

Object.assign(window, { measured });
