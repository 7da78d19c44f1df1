import path from "node:path";
import { app } from "electron";
import { TarnError } from "../contract/errors.ts";
import { prepareDataFolder } from "../services/data-folder.ts";

/**
 * Decides where database, models and caches live: `--data DIR`, else `TARN_HOME`, else the system's place for this
 * program. Chromium's own files go there too, so that a test leaves nothing in a user's folder.
 * @returns an absolute path; the folder exists
 * @throws TarnError when `--data` has no folder behind it, or the folder cannot be made
 */
export function useDataFolder(argv: readonly string[]): string {
  const flag = argv.indexOf("--data");
  const named = argv[flag + 1];
  if (flag !== -1 && (named === undefined || named.startsWith("--"))) {
    throw new TarnError("bad-request", "--data wants a folder behind it: npm start -- --data DIR");
  }
  const folder = prepareDataFolder(flag === -1 ? null : (named ?? null));
  app.setPath("userData", folder);
  app.setPath("sessionData", path.join(folder, "chromium"));
  return folder;
}
