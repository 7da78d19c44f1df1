import path from "node:path";
import { BrowserWindow, nativeTheme } from "electron";
import { UI_ORIGIN } from "./origins.ts";
import { sandboxed } from "./security.ts";

/** The window that people see. It appears when it has something to show. */
export function openMainWindow(preloads: string): BrowserWindow {
  const window = new BrowserWindow({
    title: "Tarn",
    width: 1180,
    height: 800,
    minWidth: 380,
    minHeight: 480,
    show: false,
    // The page's own first colour, so that nothing flashes before it is drawn.
    backgroundColor: nativeTheme.shouldUseDarkColors ? "#101518" : "#fbfbf9",
    webPreferences: sandboxed(path.join(preloads, "index.cjs")),
  });
  window.once("ready-to-show", () => window.show());
  window.loadURL(`${UI_ORIGIN}/index.html`).catch((error: unknown) => console.error(error));
  return window;
}
