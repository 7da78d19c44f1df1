/** The window's only door: `window.tarn` (the contract's `Api`; a failed call rejects with an ErrorDto, not with an Error). */
import { contextBridge, ipcRenderer } from "electron";
import type { IpcRendererEvent } from "electron";
import { CALL_CHANNEL, EVENT_CHANNEL } from "../contract/bridge.ts";
import type { BridgeReply } from "../contract/bridge.ts";

contextBridge.exposeInMainWorld("tarn", {
  async call(name: string, input: unknown): Promise<unknown> {
    // What main sends is trusted; what the window sends is checked in main.
    const reply = (await ipcRenderer.invoke(CALL_CHANNEL, name, input)) as BridgeReply;
    return reply.ok ? reply.output : Promise.reject(reply.error);
  },
  on(name: string, listener: (data: unknown) => void): () => void {
    const heard = (_event: IpcRendererEvent, event: string, data: unknown): void => {
      if (event === name) listener(data);
    };
    ipcRenderer.on(EVENT_CHANNEL, heard);
    return () => {
      ipcRenderer.off(EVENT_CHANNEL, heard);
    };
  },
});
