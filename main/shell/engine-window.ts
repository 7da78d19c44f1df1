/** The desktop's engine host: a hidden, sandboxed window whose Web Worker has Chromium's WebGPU. */
import path from "node:path";
import { BrowserWindow, MessageChannelMain } from "electron";
import { ENGINE_PORT_CHANNEL } from "../contract/bridge.ts";
import type { EngineClient } from "../engine/client.ts";
import { createPortClient } from "../engine/port-client.ts";
import { ENGINE_ORIGIN } from "./origins.ts";
import type { WeightFiles } from "./model-protocol.ts";
import { sandboxed } from "./security.ts";

/**
 * Opens the hidden window and connects it.
 * @param preloads folder of the built preloads
 * @returns a client as services know it; closing it ends the window, its worker and its threads
 */
export async function openEngineWindow(
  preloads: string,
  weights: WeightFiles,
): Promise<EngineClient> {
  const window = new BrowserWindow({
    show: false,
    webPreferences: {
      ...sandboxed(path.join(preloads, "engine.cjs")),
      backgroundThrottling: false,
    },
  });
  const { port1: ours, port2: theirs } = new MessageChannelMain();
  let closing = false;

  const client = createPortClient({
    postMessage: (message) => ours.postMessage(message),
    onMessage: (listener) => {
      ours.on("message", (event) => listener(event.data));
      ours.start();
    },
    onClosed: (listener) => {
      window.webContents.on("render-process-gone", (_event, { reason }) => {
        if (!closing) listener(new Error(`its process is gone (${reason})`));
      });
      window.on("closed", () => {
        if (!closing) listener(new Error("its window was closed"));
      });
    },
    close: async () => {
      closing = true;
      ours.close();
      if (!window.isDestroyed()) window.destroy();
    },
  });

  await window.loadURL(`${ENGINE_ORIGIN}/index.html`);
  window.webContents.postMessage(ENGINE_PORT_CHANNEL, null, [theirs]);
  return withRegisteredFiles(client, weights);
}

/** The sandbox knows no paths: each weight file gets an address before its name crosses. */
function withRegisteredFiles(client: EngineClient, weights: WeightFiles): EngineClient {
  return {
    call: (method, input, options) =>
      "files" in input
        ? client.call(
            method,
            {
              ...input,
              files: input.files.map((file) => ({ ...file, open: weights.register(file.open) })),
            },
            options,
          )
        : client.call(method, input, options),
    close: () => client.close(),
  };
}
