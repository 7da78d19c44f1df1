import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { startNodeEngine } from "../engine/node-host.ts";
import { openInBrowser } from "../server/open-browser.ts";
import { startBrowserShell } from "../server/index.ts";
import { withOptions } from "./engine-options.ts";
import { resourcesFolder } from "./model.ts";
import { integer, parse, readCommon, UsageError } from "./options.ts";
import { note, writeJson, writeResult } from "./output.ts";

export const usage = `Usage: tarn serve [--port N] [--no-open]

The app in the browser, on this computer only, and the OpenAI-compatible API under /v1 (the token is the API key).
  --port N      default: 4170, or the next free one
  --no-open     prints the address and opens no browser`;

/** The built interface, seen from the bundle in out/node. */
const rendererFolder = fileURLToPath(new URL("../renderer", import.meta.url));

/** Runs until it is interrupted. */
export async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parse(args, {
    port: { type: "string" },
    "no-open": { type: "boolean" },
  });
  const common = readCommon(values);
  if (positionals.length > 0)
    throw new UsageError(`"${positionals[0]}" is not an option of tarn serve.`);
  const port = values.port === undefined ? null : integer("--port", values.port, 0, 65_535);
  const shell = await startBrowserShell({
    data: common.data,
    port,
    rendererFolder,
    resourcesFolder,
    version: await version(),
    startEngine: () => withOptions(startNodeEngine(), common),
    model: common.model,
  });
  if (common.json) writeJson({ address: shell.address });
  else writeResult(`Tarn is at ${shell.address}\n`);
  if (values["no-open"] !== true && !(await openInBrowser(shell.address)))
    note("Open this address in a browser.");
  await untilInterrupted();
  await shell.close();
}

async function version(): Promise<string> {
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return z.object({ version: z.string() }).parse(JSON.parse(text)).version;
}

/** A second signal ends the program at once. */
function untilInterrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(130));
        resolve();
      });
    }
  });
}
