import { spawn } from "node:child_process";

/** Opens an address in the default browser, where there is one. True when a program took it. */
export function openInBrowser(
  url: string,
  platform: NodeJS.Platform = process.platform,
  env: NodeJS.ProcessEnv = process.env,
): Promise<boolean> {
  const command = commandFor(url, platform, env);
  if (command === null) return Promise.resolve(false);
  const [program, args] = command;
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: "ignore", detached: true });
    child.once("error", () => resolve(false));
    child.once("spawn", () => {
      child.unref();
      resolve(true);
    });
  });
}

function commandFor(
  url: string,
  platform: NodeJS.Platform,
  env: NodeJS.ProcessEnv,
): readonly [string, readonly string[]] | null {
  switch (platform) {
    case "darwin":
      return ["open", [url]];
    case "win32":
      // Not `start`: cmd would read the & of an address as its own.
      return ["rundll32", ["url.dll,FileProtocolHandler", url]];
    default:
      // Without a display there is no browser to open; xdg-open would fall to one in the terminal.
      return env["DISPLAY"] === undefined && env["WAYLAND_DISPLAY"] === undefined
        ? null
        : ["xdg-open", [url]];
  }
}
