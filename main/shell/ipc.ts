import { ipcMain } from "electron";
import type { BrowserWindow, IpcMainInvokeEvent } from "electron";
import { CALL_CHANNEL, EVENT_CHANNEL } from "../contract/bridge.ts";
import type { BridgeReply } from "../contract/bridge.ts";
import type { Handlers } from "../contract/contract.ts";
import { TarnError } from "../contract/errors.ts";
import { dispatch, toTarnError } from "../services/dispatch.ts";
import type { Events } from "../services/events.ts";
import { UI_ORIGIN } from "./origins.ts";

/** Carries the contract between the window and the services: the window's own page may call, and hears every event. */
export function carryContract(window: BrowserWindow, handlers: Handlers, events: Events): void {
  const stop = events.subscribe((name, data) => {
    if (!window.isDestroyed()) window.webContents.send(EVENT_CHANNEL, name, data);
  });
  ipcMain.handle(
    CALL_CHANNEL,
    async (event, name: unknown, input: unknown): Promise<BridgeReply> => {
      try {
        if (!isOwnPage(event, window))
          throw new TarnError("unauthorized", "This page may not call Tarn.");
        if (typeof name !== "string") throw new TarnError("bad-request", "A call needs a name.");
        return { ok: true, output: await dispatch(handlers, name, input) };
      } catch (error) {
        return { ok: false, error: toTarnError(error).toDto() };
      }
    },
  );
  window.on("closed", () => {
    stop();
    ipcMain.removeHandler(CALL_CHANNEL);
  });
}

/** The top frame of that very window, showing the interface: not a frame in it, not another window, not another page. */
function isOwnPage(event: IpcMainInvokeEvent, window: BrowserWindow): boolean {
  const frame = event.senderFrame;
  return (
    !window.isDestroyed() &&
    event.sender === window.webContents &&
    frame !== null &&
    frame.parent === null &&
    frame.url.startsWith(`${UI_ORIGIN}/`)
  );
}
