/** Serves the pages of this program: files of ours, isolated (COOP, COEP: SharedArrayBuffer), under their origin's policy. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import { protocol } from "electron";
import type { Session } from "electron";
import { WEIGHTS_PATH } from "../contract/bridge.ts";
import type { WeightFiles } from "./model-protocol.ts";
import { ENGINE_ORIGIN, POLICIES, UI_ORIGIN } from "./origins.ts";

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
};

/** Registers the scheme as a real, secure origin. Counts only before Electron is ready. */
export function declareAppScheme(): void {
  protocol.registerSchemesAsPrivileged([
    {
      scheme: "app",
      privileges: {
        standard: true,
        secure: true,
        supportFetchAPI: true,
        stream: true,
        codeCache: true,
      },
    },
  ]);
}

/** Serves both origins from the built folders, and the registered weight files to the engine. */
export function serveApp(
  session: Session,
  folders: { readonly ui: string; readonly engine: string },
  weights: WeightFiles,
): void {
  session.protocol.handle("app", async (request) => {
    const { host, pathname } = new URL(request.url);
    const origin = `app://${host}`;
    const csp = POLICIES[origin];
    if (csp === undefined) return new Response(null, { status: 404 });
    if (request.method !== "GET") return new Response(null, { status: 405 });
    const response =
      origin === ENGINE_ORIGIN && pathname.startsWith(WEIGHTS_PATH)
        ? await weights.respond(pathname.slice(WEIGHTS_PATH.length), request.headers.get("range"))
        : await file(origin === UI_ORIGIN ? folders.ui : folders.engine, pathname);
    const headers = response.headers;
    headers.set("content-security-policy", csp);
    headers.set("cross-origin-opener-policy", "same-origin");
    headers.set("cross-origin-embedder-policy", "require-corp");
    headers.set("cross-origin-resource-policy", "same-origin");
    headers.set("x-content-type-options", "nosniff");
    headers.set("referrer-policy", "no-referrer");
    return response;
  });
}

async function file(folder: string, pathname: string): Promise<Response> {
  const asked = resolveInside(folder, pathname === "/" ? "/index.html" : pathname);
  const type = asked === null ? undefined : MEDIA_TYPES[path.extname(asked)];
  if (asked === null || type === undefined) return new Response(null, { status: 404 });
  try {
    return new Response(await readFile(asked), { headers: { "content-type": type } });
  } catch (error) {
    if (
      error instanceof Error &&
      "code" in error &&
      (error.code === "ENOENT" || error.code === "EISDIR")
    )
      return new Response(null, { status: 404 });
    throw error;
  }
}

/** @returns null for what is no path, or leads out of the folder */
function resolveInside(folder: string, pathname: string): string | null {
  try {
    const asked = path.join(folder, decodeURIComponent(pathname));
    // `join` has resolved every `..`: what left the folder is not under it any more.
    return asked.startsWith(folder + path.sep) && !asked.includes("\0") ? asked : null;
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}
