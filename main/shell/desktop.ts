/** Wires the desktop program together: session, engine window, services, main window, menu, and the way out. */
import path from "node:path";
import { fileURLToPath } from "node:url";
import { app, session } from "electron";
import { openNodeFile } from "../engine/node-file.ts";
import { createServices, type Services } from "../services/app.ts";
import { serveApp } from "./app-protocol.ts";
import { openEngineWindow } from "./engine-window.ts";
import { carryContract } from "./ipc.ts";
import { openMainWindow } from "./main-window.ts";
import { installMenu } from "./menu.ts";
import { createWeightFiles } from "./model-protocol.ts";
import { guardSession, openLink } from "./security.ts";

/** The bundles lie beside each other: out/main (this one), out/preload, out/renderer, out/engine-window. */
const out = fileURLToPath(new URL("..", import.meta.url));
const preloads = path.join(out, "preload");

/**
 * Everything after `ready`. Quitting waits for the services: what runs is stopped and saved.
 * @throws TarnError `busy` when another Tarn uses the folder, `store`, `disk-full`
 */
export async function startDesktop(dataFolder: string): Promise<void> {
  const weights = createWeightFiles();
  guardSession(session.defaultSession);
  serveApp(
    session.defaultSession,
    { ui: path.join(out, "renderer"), engine: path.join(out, "engine-window") },
    weights,
  );
  installMenu();

  const services = await createServices({
    dataFolder,
    resourcesFolder: app.isPackaged
      ? path.join(process.resourcesPath, "resources")
      : path.join(out, "../resources"),
    version: app.getVersion(),
    shell: "desktop",
    startEngine: () => openEngineWindow(preloads, weights),
    openFile: openNodeFile,
    openLink,
  });
  openConnected(services);
  app.on("activate", () => {
    if (!shown) openConnected(services);
  });
  closeBeforeQuit(services);
}

/** Whether the main window is there: the hidden engine window does not count as one. */
let shown = false;

function openConnected(services: Services): void {
  const window = openMainWindow(preloads);
  carryContract(window, services.handlers, services.events);
  shown = true;
  window.on("closed", () => {
    shown = false;
    // A Mac program lives on without windows; elsewhere the last one takes the program, and the engine's, with it.
    if (process.platform !== "darwin") app.quit();
  });
}

function closeBeforeQuit(services: Services): void {
  let closed = false;
  app.on("before-quit", (event) => {
    if (closed) return;
    event.preventDefault();
    services
      .close()
      .catch((error: unknown) => console.error(error))
      .finally(() => {
        closed = true;
        app.quit();
      });
  });
}
