/** The hidden engine window's preload: hands the port that main sends on to the page, and nothing else. */
import { ipcRenderer } from "electron";
import { ENGINE_PORT_CHANNEL } from "../contract/bridge.ts";

ipcRenderer.on(ENGINE_PORT_CHANNEL, (event) => {
  window.postMessage(ENGINE_PORT_CHANNEL, window.location.origin, [...event.ports]);
});
