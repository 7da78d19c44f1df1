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

export function useBrowser(browser: Browser, rules: SessionRules, app: EventEmitter): void {
  shared = { browser, rules, app };
}

function program(): NonNullable<typeof shared> {
  if (shared === null) throw new Error("A window was made before Electron was ready.");
  return shared;
}

class ContentsDouble extends EventEmitter {
  readonly page: Promise<Page>;
  url = "";
  /** What main sends before the page is there is lost, as in Electron. */
  loaded = false;
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
        if (this.loaded && !page.isClosed()) await run(page);
      })
      .catch((error: unknown) => console.error(error));
  }

  private async start(preload: string): Promise<Page> {
    const { browser, rules } = program();
    const page = await browser.context.newPage();
    await page.exposeBinding("__electronInvoke", (_source, channel: string, args: unknown[]) => {
      const handler = rules.invoke.get(channel);
      if (handler === undefined) throw new Error(`No handler registered for '${channel}'`);
      return handler(
        { sender: this, senderFrame: { url: browser.toApp(page.url()), parent: null } },
        ...args,
      );
    });
    await page.exposeBinding("__electronPort", (_source, id: number, message: unknown) =>
      this.ports.get(id)?.postMessage(message),
    );
    await page.addInitScript({ content: pageScript(preload) });
    await page.route("**/*", (route) => this.judge(route, page));
    await page.exposeBinding("__electronOpen", (_source, url: string) => {
      const { action } = this.openHandler({ url } as Electron.HandlerDetails);
      if (action === "deny") tell({ kind: "denied-window", url });
    });
    page.on("popup", (popup) => void popup.close());
    page.on("console", (message) => console.error(`[window] ${message.text()}`));
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
    const page = await this.webContents.page;
    this.webContents.url = url;
    await page.goto(program().browser.toHttp(url));
    this.webContents.loaded = true;
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
