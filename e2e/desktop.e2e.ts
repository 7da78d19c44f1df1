/** The desktop program: the real main bundle, its preloads and its engine window, against the double of Electron. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Browser, chromium, type Page } from "playwright";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Api } from "../main/contract/contract.ts";
import { dataFolder, PATIENCE, TarnApp } from "./app.ts";
import type { Report } from "./electron-double/report.ts";

declare global {
  interface Window {
    /** The preload's bridge. */
    readonly tarn?: Api;
  }
}

const root = fileURLToPath(new URL("..", import.meta.url));

let data: Awaited<ReturnType<typeof dataFolder>>;
let program: ChildProcess;
let browser: Browser;
let page: Page;
let app: TarnApp;
const reports: Report[] = [];

beforeAll(async () => {
  data = await dataFolder();
  program = fork(`${root}/out/main/index.js`, ["--data", data.path], {
    cwd: root,
    execArgv: ["--import", new URL("electron-double/register.ts", import.meta.url).href],
  });
  program.on("message", (report: Report) => reports.push(report));
  const { port } = await reported("browser");
  browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`, { timeout: PATIENCE });
  await reported("shown");
  page = await pageOf("ui");
  app = TarnApp.on(page);
  await app.message.waitFor();
});

afterAll(async () => {
  await browser?.close();
  program?.kill("SIGKILL");
  await data?.release();
});

test("asks for a sandbox, an isolated context and no Node in every window", () => {
  const windows = all("window");
  expect(windows.map(({ show }) => show)).toEqual([false, false]);
  for (const { preferences } of windows) {
    expect(preferences).toMatchObject({
      sandbox: true,
      contextIsolation: true,
      nodeIntegration: false,
      nodeIntegrationInWorker: false,
      webSecurity: true,
      webviewTag: false,
    });
  }
});

test("shows the interface and keeps the engine's window hidden", () => {
  const shown = all("shown").map(({ id }) => id);
  const loaded = all("loaded");
  expect(loaded.find(({ url }) => url.startsWith("app://ui/"))?.id).toBe(shown[0]);
  expect(shown).not.toContain(loaded.find(({ url }) => url.startsWith("app://engine/"))?.id);
});

test("answers from the engine in the hidden window's worker", async () => {
  const answer = await app.ask("What is the capital of France?");
  expect((await answer.innerText()).length).toBeGreaterThan(0);
  expect(await app.prefilled(answer)).toBeGreaterThan(0);
  expect(await app.engine.innerText()).toMatch(/cpu|wasm/i);
  expect(await (await pageOf("engine")).evaluate(() => self.crossOriginIsolated)).toBe(true);
  await app.screenshot("desktop-light");
});

test("regenerates from the stored state: nothing is read", async () => {
  await app.button("Regenerate").last().click();
  await expect.poll(() => app.answers.last().getAttribute("data-prefilled")).toBe("0");
  await app.settled();
});

test("lets http, https and mailto out through one gate, and nothing else", async () => {
  expect(await call("shell.openLink", { url: "https://example.org/a?b=c" })).toBeNull();
  expect(await call("shell.openLink", { url: "mailto:someone@example.org" })).toBeNull();
  for (const url of [
    "file:///etc/passwd",
    "javascript:alert(1)",
    "smb://host/share",
    "vscode://x",
    "not a link",
    "http:",
  ]) {
    expect(await call("shell.openLink", { url })).toMatchObject({ code: "bad-request" });
  }
  expect(all("opened").map(({ url }) => url)).toEqual([
    "https://example.org/a?b=c",
    "mailto:someone@example.org",
  ]);
});

test("denies new windows, navigation and permissions", async () => {
  await page.evaluate(() => void window.open("https://example.org/popup"));
  await until(() => all("denied-window").some(({ url }) => url === "https://example.org/popup"));
  // Denied as a window, it went out by the gate.
  expect(all("opened").at(-1)?.url).toBe("https://example.org/popup");
  await page.evaluate(() => void (window.location.href = "https://example.org/away"));
  await until(() => all("denied-navigation").some(({ url }) => url === "https://example.org/away"));
  await expect.poll(() => app.message.isVisible()).toBe(true);
  for (const permission of ["media", "geolocation", "notifications", "clipboard-read"])
    program.send({ permission });
  await until(() => all("permission").length === 4);
  expect(all("permission").every(({ granted, checked }) => !granted && !checked)).toBe(true);
});

test("refuses calls that the contract does not know, and inputs that do not fit it", async () => {
  expect(await call("constructor", {})).toMatchObject({ code: "bad-request" });
  expect(await call("chats.get", { chatId: 7 })).toMatchObject({ code: "bad-request" });
});

test("keeps the page under its policy: no written script, no other host", async () => {
  expect(
    await page.evaluate(async () => {
      const script = document.createElement("script");
      script.textContent = "document.documentElement.dataset.ran = 'yes'";
      document.head.append(script);
      const fetched = await fetch("https://example.org/").then(
        () => "loaded",
        () => "refused",
      );
      return [document.documentElement.dataset["ran"] ?? "refused", fetched];
    }),
  ).toEqual(["refused", "refused"]);
});

test("has a menu with the places that people look for", () => {
  expect(all("menu")[0]?.labels).toEqual(
    expect.arrayContaining(["New chat", "Settings", "Search chats", "copy", "paste", "zoomIn"]),
  );
});

test("brings the window to what was chosen from the menu", async () => {
  program.send({ choose: "Settings" });
  await page.getByRole("heading", { name: "Settings", exact: true }).first().waitFor();
  program.send({ choose: "New chat" });
  await app.message.waitFor();
  expect(await app.answers.count()).toBe(0);
});

test("turns on WebGPU, and turns off Chromium's own errands", () => {
  const names = all("switch").map(({ name }) => name);
  expect(names).toEqual(
    expect.arrayContaining([
      "enable-dawn-features",
      "disable-background-networking",
      "disable-component-update",
    ]),
  );
});

test("no script of a window has failed", () => {
  expect(all("page-error")).toEqual([]);
  expect(all("error-box")).toEqual([]);
});

test("quits once the services have saved and closed", async () => {
  const ended = new Promise((resolve) => program.once("exit", resolve));
  program.send({ quit: true });
  expect(await ended).toBe(0);
});

/** A call as the window makes it, whatever its name; a refusal comes back as the value that it rejects with. */
function call(name: string, input: unknown): Promise<unknown> {
  return page.evaluate(
    async ([name, input]) => {
      const { tarn } = window;
      if (tarn === undefined) throw new Error("The preload has put no bridge on the window.");
      return (tarn.call as (name: string, input: unknown) => Promise<unknown>)(name, input).catch(
        (error: unknown) => error,
      );
    },
    [name, input] as const,
  );
}

function all<K extends Report["kind"]>(kind: K): Extract<Report, { kind: K }>[] {
  return reports.filter((report): report is Extract<Report, { kind: K }> => report.kind === kind);
}

async function reported<K extends Report["kind"]>(kind: K): Promise<Extract<Report, { kind: K }>> {
  await until(() => all(kind).length > 0);
  const found = all(kind)[0];
  if (found === undefined) throw new Error(`The double has not reported "${kind}".`);
  return found;
}

async function until(holds: () => boolean): Promise<void> {
  await vi.waitUntil(holds, { timeout: PATIENCE, interval: 50 });
}

async function pageOf(origin: string): Promise<Page> {
  const open = (): Page | undefined =>
    browser
      .contexts()
      .flatMap((context) => context.pages())
      .find((one) => new URL(one.url()).hostname === `${origin}.localhost`);
  await until(() => open() !== undefined);
  const found = open();
  if (found === undefined) throw new Error(`There is no window at ${origin}.`);
  return found;
}
