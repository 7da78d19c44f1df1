/** BrowserWindow and webContents of the double: a page of Chromium each. */
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import type * as Electron from "electron";
import type { Page, Route } from "playwright";
import type { Browser } from "./browser.ts";
import { pageScript, type PageSide } from "./page-side.ts";
import type { PortDouble } from "./ports.ts";
import type { SessionRules } from "./rules.ts";
import { tell } from "./report.ts";

declare global {
  interface Window {
    /** Set by page-side.ts. */
    __electron: PageSide;
  }
}

let shared: {
  readonly browser: Browser;
  readonly rules: SessionRules;
  readonly app: EventEmitter;
} | null = null;
const open = new Set<BrowserWindow>();
const contentsOf = new Map<Page, ContentsDouble>();

/**
 * The browser of all windows to come. What their pages call is bound here, once for all of them: Playwright puts its
 * binding script into a page that is just being made only if no other page is getting its first binding meanwhile, and
 * the two windows of this program are made at the same time.
 */
export async function useBrowser(
  browser: Browser,
  rules: SessionRules,
  app: EventEmitter,
): Promise<void> {
  shared = { browser, rules, app };
  const { context } = browser;
  await context.exposeBinding("__electronInvoke", ({ page }, channel: string, args: unknown[]) =>
    contentsOn(page).invoked(channel, args),
  );
  await context.exposeBinding("__electronPort", ({ page }, id: number, message: unknown) =>
    contentsOn(page).fromPort(id, message),
  );
  await context.exposeBinding("__electronOpen", ({ page }, url: string) =>
    contentsOn(page).opened(url),
  );
}

function contentsOn(page: Page): ContentsDouble {
  const contents = contentsOf.get(page);
  if (contents === undefined) throw new Error(`The page at ${page.url()} is no window's.`);
  return contents;
}

function program(): NonNullable<typeof shared> {
  if (shared === null) throw new Error("A window was made before Electron was ready.");
  return shared;
}

class ContentsDouble extends EventEmitter {
  readonly page: Promise<Page>;
  url = "";
  /** What main sends before there is a document with the preload in it is lost, as in Electron. */
  private committed = false;
  openHandler: Parameters<Electron.WebContents["setWindowOpenHandler"]>[0] = () => ({
    action: "allow",
  });
  private nextPort = 1;
  private readonly ports = new Map<number, PortDouble>();
  private queue: Promise<void> = Promise.resolve();

  constructor(preload: string | undefined) {
    super();
    this.page = this.start(preload === undefined ? "" : readFileSync(preload, "utf8"));
  }

  setWindowOpenHandler(handler: typeof this.openHandler): void {
    this.openHandler = handler;
  }

  send(channel: string, ...args: unknown[]): void {
    this.deliver(channel, args, []);
  }

  postMessage(channel: string, message: unknown, transfer: readonly PortDouble[] = []): void {
    this.deliver(
      channel,
      [message],
      transfer.map((port) => this.adopt(port)),
    );
  }

  private deliver(channel: string, args: readonly unknown[], portIds: readonly number[]): void {
    this.inPage((page) =>
      page.evaluate((all) => window.__electron.deliver(...all), [channel, args, portIds] as const),
    );
  }

  /** From now on the page holds this end: what was sent to it goes there, and what the page sends comes from it. */
  private adopt(port: PortDouble): number {
    const id = this.nextPort++;
    this.ports.set(id, port);
    port.on("message", ({ data }: { data: unknown }) => {
      this.inPage((page) =>
        page.evaluate((all) => window.__electron.toPort(...all), [id, data] as const),
      );
    });
    port.start();
    return id;
  }

  /** One after the other, in order, as messages are. */
  private inPage(run: (page: Page) => Promise<void>): void {
    this.queue = this.queue
      .then(async () => {
        const page = await this.page;
        if (this.committed && !page.isClosed()) await run(page);
      })
      .catch((error: unknown) => console.error(error));
  }

  /** `ipcRenderer.invoke` of the page. */
  async invoked(channel: string, args: readonly unknown[]): Promise<unknown> {
    const { browser, rules } = program();
    const handler = rules.invoke.get(channel);
    if (handler === undefined) throw new Error(`No handler registered for '${channel}'`);
    const url = browser.toApp((await this.page).url());
    return handler({ sender: this, senderFrame: { url, parent: null } }, ...args);
  }

  /** A message from an end that the page holds. */
  fromPort(id: number, message: unknown): void {
    const port = this.ports.get(id);
    if (port === undefined) throw new Error(`The window at ${this.url} has no port ${id}.`);
    port.postMessage(message);
  }

  /** `window.open` of the page. */
  opened(url: string): void {
    const { action } = this.openHandler({ url } as Electron.HandlerDetails);
    if (action === "deny") tell({ kind: "denied-window", url });
  }

  /** Resolves once the page and what belongs to it is there. */
  async load(url: string): Promise<void> {
    const page = await this.page;
    this.url = url;
    await page.goto(program().browser.toHttp(url), { waitUntil: "commit" });
    this.committed = true;
    await page.waitForLoadState("load");
  }

  private async start(preload: string): Promise<Page> {
    const page = await program().browser.context.newPage();
    contentsOf.set(page, this);
    page.on("close", () => contentsOf.delete(page));
    await page.addInitScript({ content: pageScript(preload) });
    await page.route("**/*", (route) => this.judge(route, page));
    page.on("popup", (popup) => void popup.close());
    page.on("console", (message) => console.error(`[window] ${message.text()}`));
    page.on("pageerror", (error) => {
      console.error(`[window] ${error.stack ?? error.message}`);
      tell({ kind: "page-error", url: this.url, message: error.message });
    });
    page.on("crash", () =>
      this.emit("render-process-gone", {}, { reason: "crashed", exitCode: 1 }),
    );
    return page;
  }

  private async judge(route: Route, page: Page): Promise<void> {
    const { browser, rules } = program();
    const url = browser.toApp(route.request().url());
    const moves =
      route.request().isNavigationRequest() &&
      route.request().frame() === page.mainFrame() &&
      url !== this.url;
    let denied = false;
    if (moves) this.emit("will-navigate", { url, preventDefault: () => (denied = true) });
    if (denied) tell({ kind: "denied-navigation", url });
    let cancelled = denied;
    rules.beforeRequest?.({ url }, ({ cancel }) => {
      if (cancel !== true) return;
      cancelled = true;
      tell({ kind: "denied-request", url });
    });
    // An answer without content leaves the page where it is, as a prevented navigation does.
    if (denied) await route.fulfill({ status: 204 });
    else await (cancelled ? route.abort() : route.continue());
  }
}

export class BrowserWindow extends EventEmitter {
  private static next = 1;
  readonly id = BrowserWindow.next++;
  readonly webContents: ContentsDouble;
  private visible: boolean;
  private gone = false;

  constructor(options: Electron.BrowserWindowConstructorOptions = {}) {
    super();
    const { preload, ...preferences } = options.webPreferences ?? {};
    this.visible = options.show ?? true;
    this.webContents = new ContentsDouble(preload);
    open.add(this);
    tell({ kind: "window", id: this.id, show: this.visible, preferences: { ...preferences } });
    program().app.emit("web-contents-created", {}, this.webContents);
  }

  static getAllWindows(): BrowserWindow[] {
    return [...open];
  }

  async loadURL(url: string): Promise<void> {
    await this.webContents.load(url);
    tell({ kind: "loaded", id: this.id, url });
    this.emit("ready-to-show");
  }

  show(): void {
    this.visible = true;
    tell({ kind: "shown", id: this.id });
  }

  focus(): void {
    this.emit("focus");
  }

  restore(): void {
    this.emit("restore");
  }

  isVisible(): boolean {
    return this.visible;
  }

  isMinimized(): boolean {
    return false;
  }

  isDestroyed(): boolean {
    return this.gone;
  }

  close(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.gone) return;
    this.gone = true;
    open.delete(this);
    void this.webContents.page.then((page) => page.close());
    this.emit("closed");
    if (open.size === 0) program().app.emit("window-all-closed");
  }
}
