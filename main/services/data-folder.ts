import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { TarnError } from "../contract/errors.ts";

/** Where the data lies unless the user says otherwise. `platform` and `env` as Node's `process` has them. */
export function defaultDataFolder(
  platform: NodeJS.Platform,
  env: Readonly<Record<string, string | undefined>>,
  home: string = homedir(),
): string {
  const chosen = env["TARN_HOME"];
  if (chosen !== undefined && chosen !== "") return resolve(chosen);
  switch (platform) {
    case "darwin":
      return join(home, "Library", "Application Support", "Tarn");
    case "win32":
      return join(env["APPDATA"] ?? join(home, "AppData", "Roaming"), "Tarn");
    default: {
      // XDG Base Directory: a relative path there is invalid and to be ignored.
      const xdg = env["XDG_DATA_HOME"];
      return join(
        xdg !== undefined && isAbsolute(xdg) ? xdg : join(home, ".local", "share"),
        "tarn",
      );
    }
  }
}

/**
 * Makes the folder and its `models` folder, for this user alone.
 * @param given what `--data` says; null for the default
 * @throws TarnError `store` when it cannot be made
 */
export function prepareDataFolder(given: string | null): string {
  const folder = given === null ? defaultDataFolder(process.platform, process.env) : resolve(given);
  try {
    mkdirSync(join(folder, "models"), { recursive: true, mode: 0o700 });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new TarnError(
      "store",
      `The data folder ${folder} cannot be made or used (${why}). Choose another one with --data.`,
      { folder },
      cause,
    );
  }
  return folder;
}
