/** Boot of the browser shell: services, engine in a worker thread, server, and a clean end. */
import { resolve } from "node:path";
import type { EngineClient } from "../engine/client.ts";
import { openNodeFile } from "../engine/node-file.ts";
import { createServices } from "../services/app.ts";
import { prepareDataFolder } from "../services/data-folder.ts";
import { openToken } from "./access.ts";
import { openInBrowser } from "./open-browser.ts";
import { startServer } from "./server.ts";

export interface BrowserShellOptions {
  /** What `--data` says; null for the usual place. */
  readonly data: string | null;
  /** What `--port` says; null for the usual one or the next free. */
  readonly port: number | null;
  readonly rendererFolder: string;
  readonly resourcesFolder: string;
  readonly version: string;
  readonly startEngine: () => EngineClient;
  /** Path of a model to use in place of the last one; null for that. */
  readonly model: string | null;
}

export interface BrowserShell {
  /** With its token. */
  readonly address: string;
  /** Stops what runs, saves it, and lets go of port, engine and database. */
  close(): Promise<void>;
}

/**
 * The page can be opened as soon as this resolves; the model loads meanwhile.
 * @throws TarnError `busy`, `store`, `disk-full`
 */
export async function startBrowserShell(options: BrowserShellOptions): Promise<BrowserShell> {
  const dataFolder = prepareDataFolder(options.data);
  const services = await createServices({
    dataFolder,
    resourcesFolder: options.resourcesFolder,
    version: options.version,
    shell: "browser",
    startEngine: options.startEngine,
    openFile: openNodeFile,
    openLink: async (url) => void (await openInBrowser(url)),
  });
  try {
    if (options.model !== null) {
      const { id } = await services.handlers["models.add"]({ path: resolve(options.model) });
      await services.handlers["models.use"]({ modelId: id });
    }
    const server = await startServer({
      services,
      port: options.port,
      rendererFolder: options.rendererFolder,
      token: openToken(dataFolder),
    });
    return {
      address: server.address,
      async close() {
        await server.close();
        await services.close();
      },
    };
  } catch (cause) {
    await services.close();
    throw cause;
  }
}
