/** One Chromium for all windows of the double, and a server that gives it `app:` pages under names of localhost. */
import { mkdtempSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium, type BrowserContext } from "playwright";
import { PATIENCE } from "../app.ts";
import { CHROMIUM, CHROMIUM_ARGS } from "../chromium.ts";
import type { SessionRules } from "./rules.ts";

export interface Browser {
  readonly context: BrowserContext;
  readonly debuggingPort: number;
  /** `app://ui/x` → `http://ui.localhost:PORT/x`; names under localhost are secure origins, as `app:` is. */
  toHttp(url: string): string;
  toApp(url: string): string;
}

export async function openBrowser(rules: SessionRules): Promise<Browser> {
  const server = createServer((request, response) => {
    answer(rules, request, response).catch((error: unknown) => {
      console.error(error);
      response.writeHead(500).end();
    });
  });
  const port = await listen(server);
  server.unref();
  const profile = mkdtempSync(path.join(tmpdir(), "tarn-double-chromium-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    // A port that is free, which Chromium chooses: what was free a moment ago may be another program's now.
    args: [...CHROMIUM_ARGS, "--remote-debugging-port=0"],
    headless: true,
    // The program ends by `quit`, as Electron's does; a signal must not leave it half alive.
    handleSIGTERM: false,
    handleSIGINT: false,
    handleSIGHUP: false,
    timeout: PATIENCE,
    viewport: { width: 1180, height: 800 },
  });
  context.setDefaultTimeout(PATIENCE);
  return {
    context,
    debuggingPort: await chosenPort(profile),
    toHttp: (url) => url.replace(/^app:\/\/([a-z]+)/, `http://$1.localhost:${port}`),
    toApp: (url) => url.replace(/^http:\/\/([a-z]+)\.localhost:\d+/, "app://$1"),
  };
}

async function answer(
  rules: SessionRules,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const host = /^([a-z]+)\.localhost/.exec(request.headers.host ?? "")?.[1];
  if (host === undefined || rules.appHandler === null) return void response.writeHead(404).end();
  const headers = new Headers();
  if (request.headers.range !== undefined) headers.set("range", request.headers.range);
  const answered = await rules.appHandler(
    new Request(`app://${host}${request.url ?? "/"}`, { method: request.method ?? "GET", headers }),
  );
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  response.end(new Uint8Array(await answered.arrayBuffer()));
}

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new Error("The double's server has no port.");
  return address.port;
}

/** The port that Chromium listens on, from the file in which it says so, and behind it a line of the address. */
async function chosenPort(profile: string): Promise<number> {
  for (;;) {
    const [port, address] = readIfThere(path.join(profile, "DevToolsActivePort")).split("\n");
    if (address !== undefined) return Number(port);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
}
