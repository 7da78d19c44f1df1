/** The app's services over the user's own data folder, for commands that work on what the app keeps. */
import { openNodeFile } from "../engine/node-file.ts";
import { startNodeEngine } from "../engine/node-host.ts";
import { createServices, type Services } from "../services/app.ts";
import { prepareDataFolder } from "../services/data-folder.ts";
import { toTarnError } from "../services/dispatch.ts";
import { withOptions } from "./engine-options.ts";
import { modelPath, resourcesFolder } from "./model.ts";
import type { CommonOptions } from "./options.ts";
import { note } from "./output.ts";

export interface OpenData {
  readonly services: Services;
  /** Waits for the model; that there is none is told, and no error. */
  model(): Promise<void>;
  close(): Promise<void>;
}

/** @throws TarnError `busy` while the app has the folder open */
export async function openData(options: CommonOptions): Promise<OpenData> {
  const services = await createServices({
    dataFolder: prepareDataFolder(options.data),
    resourcesFolder,
    version: "",
    shell: "browser",
    startEngine: () => withOptions(startNodeEngine(), options),
    openFile: openNodeFile,
    openLink: async () => undefined,
    ...(options.model !== null && { modelPath: await modelPath(options) }),
  });
  try {
    // One that was asked for and cannot be had is an error, also where no model is needed.
    if (options.model !== null) await services.engine.model();
  } catch (error) {
    await services.close();
    throw error;
  }
  return {
    services,
    async model() {
      await services.engine.model().catch((cause: unknown) => note(toTarnError(cause).message));
    },
    close: () => services.close(),
  };
}
