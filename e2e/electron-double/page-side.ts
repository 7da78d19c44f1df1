/**
 * The renderer's half of the double: what `require("electron")` is for a preload. It runs in the page before any
 * script of it; it reaches main by the bindings and is reached by `window.__electron`.
 */

/** What main calls in the page. */
export interface PageSide {
  deliver(channel: string, args: readonly unknown[], portIds: readonly number[]): void;
  toPort(id: number, message: unknown): void;
}

interface Bindings {
  __electronInvoke(channel: string, args: readonly unknown[]): Promise<unknown>;
  __electronPort(id: number, message: unknown): Promise<void>;
  __electronOpen(url: string): Promise<void>;
}

type Listener = (event: { readonly ports: readonly MessagePort[] }, ...args: unknown[]) => void;

/** The body of a CommonJS module, as sandboxed preloads are. */
type Module = (require: (name: string) => unknown, module: object, exports: object) => void;

/** The script that makes a page a window: this file's half, with the built preload's text inside. */
export function pageScript(preload: string): string {
  return `(${pageSide.toString()})((require, module, exports) => {${preload}\n});`;
}

/** Self-contained: its source goes into the page. Nothing is evaluated there, so the page's policy holds. */
function pageSide(preload: Module): void {
  const page = window as unknown as Window & Bindings;
  const listeners = new Map<string, Set<Listener>>();
  const ports = new Map<number, MessagePort>();
  const electron = {
    ipcRenderer: {
      invoke: (channel: string, ...args: unknown[]) => page.__electronInvoke(channel, args),
      on: (channel: string, listener: Listener) =>
        void listeners.set(channel, (listeners.get(channel) ?? new Set()).add(listener)),
      off: (channel: string, listener: Listener) => void listeners.get(channel)?.delete(listener),
    },
    contextBridge: {
      exposeInMainWorld: (key: string, value: unknown) =>
        Object.defineProperty(window, key, { value, enumerable: true }),
    },
  };
  page.__electron = {
    deliver(channel, args, portIds) {
      const given = portIds.map((id) => {
        const { port1, port2 } = new MessageChannel();
        port1.addEventListener("message", ({ data }) => void page.__electronPort(id, data));
        port1.start();
        ports.set(id, port1);
        return port2;
      });
      for (const listener of listeners.get(channel) ?? []) listener({ ports: given }, ...args);
    },
    toPort(id, message) {
      const port = ports.get(id);
      if (port === undefined) throw new Error(`This window has no port ${id}.`);
      port.postMessage(message);
    },
  };
  // The page's own words: a popup of Chromium's tells its address only once it has loaded something.
  window.open = (url) => {
    void page.__electronOpen(String(url ?? "about:blank"));
    return null;
  };
  const load = (name: string): unknown => {
    if (name !== "electron") throw new Error(`module not found: ${name}`);
    return electron;
  };
  const exports = {};
  preload(load, { exports }, exports);
}
