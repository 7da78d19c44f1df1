/** The services as tests run them: over a folder of the test's, with the model that ships, and an engine of its own. */
import { fileURLToPath } from "node:url";
import { openNodeFile } from "../engine/node-file.ts";
import { createServices, type Services, type ServicesOptions } from "./app.ts";
import type { FakeEngine } from "./fake-engine.ts";

/** @param more what differs from the usual */
export function startServices(
  dataFolder: string,
  { client }: Pick<FakeEngine, "client">,
  more: Partial<ServicesOptions> = {},
): Promise<Services> {
  return createServices({
    dataFolder,
    resourcesFolder: fileURLToPath(new URL("../../resources", import.meta.url)),
    version: "0",
    shell: "browser",
    startEngine: () => client,
    openFile: openNodeFile,
    openLink: async () => undefined,
    ...more,
  });
}
