/** The built interface as files of a site, with the headers that keep it alone. */
import { readFile } from "node:fs/promises";
import { extname, resolve, sep } from "node:path";

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
};

/** Headers of every answer. The engine runs in Node here, so the page needs no WebAssembly. */
export function pageHeaders(port: number): Readonly<Record<string, string>> {
  const policy = {
    "default-src": "'none'",
    "script-src": "'self'",
    // The library of the dialogs locks scrolling by a style element.
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "worker-src": "'self'",
    "connect-src": `'self' ws://127.0.0.1:${port} ws://localhost:${port}`,
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
  };
  return {
    "content-security-policy": Object.entries(policy)
      .map(([name, value]) => `${name} ${value}`)
      .join("; "),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
  };
}

/** The file under `folder` for a path of the site; 404 for anything else. */
export async function staticFile(folder: string, pathname: string): Promise<Response> {
  const root = resolve(folder);
  const missing = new Response("There is nothing here.", { status: 404 });
  let path: string;
  try {
    path = resolve(root, `.${pathname === "/" ? "/index.html" : decodeURIComponent(pathname)}`);
  } catch (cause) {
    if (cause instanceof URIError) return missing;
    throw cause;
  }
  const type = MEDIA_TYPES[extname(path)];
  if (!path.startsWith(root + sep) || type === undefined || path.includes("\0")) return missing;
  try {
    // Names under assets/ carry a hash of what they hold.
    const cache = pathname.startsWith("/assets/")
      ? "private, max-age=31536000, immutable"
      : "no-cache";
    return new Response(await readFile(path), {
      headers: { "content-type": type, "cache-control": cache },
    });
  } catch (cause) {
    if (
      cause instanceof Error &&
      "code" in cause &&
      (cause.code === "ENOENT" || cause.code === "EISDIR")
    )
      return missing;
    throw cause;
  }
}
