/**
 * `app://ui/…` is the interface, `app://engine/…` the hidden engine window: two origins, so that neither can reach the
 * other's storage or scripts.
 */
export const UI_ORIGIN = "app://ui";
export const ENGINE_ORIGIN = "app://engine";

/** The content security policy of each origin: all that it may load. */
export const POLICIES: Readonly<Record<string, string>> = {
  [UI_ORIGIN]: policy({
    "script-src": "'self'",
    // Positions of floating parts are written as inline styles by the primitives library; nothing can run from there.
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "worker-src": "'self'",
  }),
  [ENGINE_ORIGIN]: policy({
    // Compiling WebAssembly is the engine's work; text is never evaluated.
    "script-src": "'self' 'wasm-unsafe-eval'",
    "connect-src": "'self'",
    "worker-src": "'self'",
  }),
};

/** @returns whether the address is a page or file of this program */
export function isAppUrl(url: string): boolean {
  return [UI_ORIGIN, ENGINE_ORIGIN].some((origin) => url.startsWith(`${origin}/`));
}

function policy(allowed: Readonly<Record<string, string>>): string {
  const all = {
    "default-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    ...allowed,
  };
  return Object.entries(all)
    .map(([name, value]) => `${name} ${value}`)
    .join("; ");
}
