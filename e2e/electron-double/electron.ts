/**
 * A double of the `electron` module for machines without its binary: what the main process uses of it, no more. Windows
 * are pages of one Chromium (windows.ts), `app:` pages come over HTTP from the very handler that main registers, and
 * preloads run in those pages with an `ipcRenderer` of ours (page-side.ts).
 *
 * What it cannot show: that Electron's sandbox, context isolation and fuses do what their options say. It shows that
 * main asks for them, and that everything else works together. It is never imported by the product.
 */
import { EventEmitter } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type * as Electron from "electron";
import { openBrowser } from "./browser.ts";
import { tell } from "./report.ts";
import type { InvokeHandler, SessionRules } from "./rules.ts";
import { BrowserWindow as Window, useBrowser } from "./windows.ts";

export { Window as BrowserWindow };
export { MessageChannelMain } from "./ports.ts";

const rules: SessionRules = {
  appHandler: null,
  permissionRequest: null,
  permissionCheck: null,
  beforeRequest: null,
  invoke: new Map(),
};
const appEvents = new EventEmitter();
const paths = new Map<string, string>([
  ["userData", mkdtempSync(path.join(tmpdir(), "tarn-double-"))],
]);

/** Resolves as Electron's does: once windows can be made. */
const ready = openBrowser(rules).then(async (browser) => {
  await useBrowser(browser, rules, appEvents);
  tell({ kind: "browser", port: browser.debuggingPort });
  return browser;
});

function leave(code: number): void {
  appEvents.emit("will-quit", { preventDefault: () => undefined });
  tell({ kind: "exit", code });
  void ready.then(({ context }) => context.close()).finally(() => process.exit(code));
}

export const app = Object.assign(appEvents, {
  name: "Tarn",
  isPackaged: false,
  commandLine: {
    appendSwitch: (name: string, value?: string) =>
      tell({ kind: "switch", name, value: value ?? null }),
  } satisfies Pick<Electron.CommandLine, "appendSwitch">,
  ...({
    whenReady: async () => void (await ready),
    requestSingleInstanceLock: () => true,
    getPath: (name) => paths.get(name) ?? tmpdir(),
    setPath: (name, value) => void paths.set(name, value),
    getAppPath: () => process.cwd(),
    getVersion: () => process.env["npm_package_version"] ?? "0.0.0",
    quit: () => {
      let stopped = false;
      appEvents.emit("before-quit", { preventDefault: () => (stopped = true) });
      if (!stopped) leave(0);
    },
    exit: (code = 0) => leave(code),
  } satisfies Pick<
    Electron.App,
    | "whenReady"
    | "requestSingleInstanceLock"
    | "getPath"
    | "setPath"
    | "getAppPath"
    | "getVersion"
    | "quit"
    | "exit"
  >),
});

export const protocol = {
  registerSchemesAsPrivileged: (schemes) => tell({ kind: "schemes", schemes }),
} satisfies Pick<Electron.Protocol, "registerSchemesAsPrivileged">;

const defaultSession = Object.assign(new EventEmitter(), {
  protocol: {
    handle: (scheme, handler) => {
      if (scheme !== "app") throw new Error(`The double serves app: only, not ${scheme}:`);
      rules.appHandler = async (request) => handler(request);
    },
  } satisfies Pick<Electron.Protocol, "handle">,
  webRequest: {
    onBeforeRequest: (listener: Parameters<Electron.WebRequest["onBeforeRequest"]>[0]) =>
      void (rules.beforeRequest = listener as unknown as SessionRules["beforeRequest"]),
  },
  ...({
    setPermissionRequestHandler: (handler) =>
      void (rules.permissionRequest = handler as SessionRules["permissionRequest"]),
    setPermissionCheckHandler: (handler) =>
      void (rules.permissionCheck = handler as SessionRules["permissionCheck"]),
    setDevicePermissionHandler: () => undefined,
  } satisfies Pick<
    Electron.Session,
    "setPermissionRequestHandler" | "setPermissionCheckHandler" | "setDevicePermissionHandler"
  >),
});
export const session = { defaultSession };

export const ipcMain = {
  handle: (channel: string, handler: InvokeHandler) => {
    if (rules.invoke.has(channel))
      throw new Error(`Attempted to register a second handler for '${channel}'`);
    rules.invoke.set(channel, handler);
  },
  removeHandler: (channel) => void rules.invoke.delete(channel),
} satisfies Pick<Electron.IpcMain, "removeHandler"> & {
  handle(channel: string, handler: InvokeHandler): void;
};

export const shell = {
  openExternal: async (url) => tell({ kind: "opened", url }),
} satisfies Pick<Electron.Shell, "openExternal">;

export const nativeTheme = { shouldUseDarkColors: false } satisfies Pick<
  Electron.NativeTheme,
  "shouldUseDarkColors"
>;

let menu: Electron.MenuItemConstructorOptions[] = [];
export const Menu = {
  buildFromTemplate: (template: Electron.MenuItemConstructorOptions[]) => template,
  setApplicationMenu: (template: Electron.MenuItemConstructorOptions[] | null) => {
    menu = (template ?? []).flatMap(withSubmenu);
    tell({ kind: "menu", labels: menu.map(labelOf).filter((label) => label !== "") });
  },
};

export const dialog = {
  showErrorBox: (title, content) => tell({ kind: "error-box", title, content }),
} satisfies Pick<Electron.Dialog, "showErrorBox">;

function withSubmenu(
  item: Electron.MenuItemConstructorOptions,
): Electron.MenuItemConstructorOptions[] {
  return [item, ...(Array.isArray(item.submenu) ? item.submenu.flatMap(withSubmenu) : [])];
}

function labelOf({ label, role }: Electron.MenuItemConstructorOptions): string {
  return label ?? role ?? "";
}

/** Clicks as a user does: the item gets the window that has the focus, here the one that is shown. */
function choose(label: string): void {
  const item = menu.find((one) => labelOf(one) === label);
  const window = Window.getAllWindows().find((one) => one.isVisible());
  const click = item?.click as
    | ((item: unknown, window: unknown, event: unknown) => void)
    | undefined;
  if (click === undefined || window === undefined) throw new Error(`Nobody can choose "${label}".`);
  click(item, window, {});
}

type Asked =
  | { readonly permission: string }
  | { readonly choose: string }
  | { readonly quit: true };

/** What the test asks: how main answers a page that wants a permission, to choose from the menu, and to quit. */
process.on("message", (asked: Asked) => {
  if ("quit" in asked) return app.quit();
  if ("choose" in asked) return choose(asked.choose);
  const { permission } = asked;
  rules.permissionRequest?.(null, permission, (granted) =>
    tell({ kind: "permission", permission, granted, checked: rules.permissionCheck?.() ?? true }),
  );
});
