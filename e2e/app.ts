/** The page object: the browser shell as a user meets it. Roles and accessible names only. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, chromium, type Locator, type Page } from "playwright";
import { CHROMIUM, CHROMIUM_ARGS } from "./chromium.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const results = path.join(root, "e2e/results");

/** What nobody should have to wait for, ms: a slow machine is no fault of the program, so a limit only ends what hangs. */
export const PATIENCE = 240_000;

export interface Server {
  /** With its token. */
  readonly address: string;
  /** All lines that it printed on standard output so far. */
  readonly stdout: readonly string[];
  readonly process: ChildProcess;
  /** As a power cut would: SIGKILL for it and all that it started. */
  kill(): Promise<void>;
}

/** What `npm start -- --data DIR --no-open` starts, in a process group of its own. */
export async function startServer(data: string): Promise<Server> {
  const child = spawn(
    process.execPath,
    [path.join(root, "main/cli/start.ts"), "--data", data, "--no-open"],
    {
      cwd: root,
      detached: true,
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const stdout: string[] = [];
  // Behind the end of whoever has its output, which is the server itself too: its file is free then.
  const gone = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const address = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      stdout.push(line);
      const found = /^Tarn is at (http:\/\/127\.0\.0\.1:\d+\/\?token=\S+)$/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.on("exit", (code) =>
      reject(new Error(`The server ended with status ${code} before it printed an address.`)),
    );
  });
  return {
    address,
    stdout,
    process: child,
    async kill() {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
        process.kill(-child.pid, "SIGKILL");
      await gone;
    },
  };
}

/** A data folder that `release` removes. */
export async function dataFolder(): Promise<{ path: string; release(): Promise<void> }> {
  const folder = await mkdtemp(path.join(tmpdir(), "tarn-e2e-"));
  return { path: folder, release: () => rm(folder, { recursive: true, force: true }) };
}

export async function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_ARGS, timeout: PATIENCE });
}

/** A server over a folder of its own, and its page in a browser. */
export interface Opened {
  readonly app: TarnApp;
  close(): Promise<void>;
}

export async function openApp(): Promise<Opened> {
  const data = await dataFolder();
  const server = await startServer(data.path);
  const browser = await launchBrowser();
  const close = async (): Promise<void> => {
    await browser.close();
    await server.kill();
    await data.release();
  };
  try {
    return { app: await TarnApp.open(browser, server.address), close };
  } catch (cause) {
    await close();
    throw cause;
  }
}

/** The open application. */
export class TarnApp {
  readonly page: Page;
  /** Addresses outside this computer that the page asked for. Must stay empty. */
  readonly outside: string[] = [];
  /** What the page reported as errors. */
  readonly complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (
        /^(?:https?|wss?):$/.test(protocol) &&
        hostname !== "127.0.0.1" &&
        hostname !== "localhost"
      )
        this.outside.push(request.url());
    });
    page.on("websocket", (socket) => {
      if (new URL(socket.url()).hostname !== "127.0.0.1") this.outside.push(socket.url());
    });
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
  }

  static async open(browser: Browser, address: string): Promise<TarnApp> {
    const context = await browser.newContext({
      viewport: { width: 1180, height: 800 },
      colorScheme: "light",
    });
    const app = new TarnApp(await context.newPage());
    await app.page.goto(address);
    await app.message.waitFor();
    return app;
  }

  /** The object over a page that something else has opened. */
  static on(page: Page): TarnApp {
    return new TarnApp(page);
  }

  get message(): Locator {
    return this.page.getByRole("textbox", { name: "Message", exact: true });
  }

  get chats(): Locator {
    return this.page.getByRole("list", { name: "Chats", exact: true });
  }

  get conversation(): Locator {
    return this.page.getByRole("log", { name: "Conversation", exact: true });
  }

  get answers(): Locator {
    return this.conversation.getByRole("article", { name: "Assistant", exact: true });
  }

  get engine(): Locator {
    return this.page.getByRole("status", { name: "Engine", exact: true });
  }

  button(name: string): Locator {
    return this.page.getByRole("button", { name, exact: true });
  }

  /** Sends, and waits until the answer is complete: the button is "Stop" until then. */
  async ask(question: string): Promise<Locator> {
    const before = await this.answers.count();
    await this.message.fill(question);
    await this.button("Send").click();
    await this.answers.nth(before).waitFor();
    await this.settled();
    return this.answers.nth(before);
  }

  async settled(): Promise<void> {
    await this.button("Stop").waitFor({ state: "detached" });
    await this.button("Send").waitFor();
  }

  /** Attaches a file by the button that opens the system's chooser. */
  async attach(name: string, mimeType: string, bytes: Uint8Array): Promise<void> {
    const chooser = this.page.waitForEvent("filechooser");
    await this.button("Attach").click();
    await (await chooser).setFiles({ name, mimeType, buffer: Buffer.from(bytes) });
  }

  /** Tokens that this answer's turn ran before its first new one. */
  async prefilled(answer: Locator): Promise<number> {
    const value = await answer.getAttribute("data-prefilled");
    if (value === null || !/^\d+$/.test(value))
      throw new Error(`The answer has data-prefilled="${value}", expected a number.`);
    return Number(value);
  }

  /** What axe finds wrong with the screen as it is now, one line a rule. */
  async accessibilityFaults(): Promise<string[]> {
    // Names are promised exactly ("Documents", "Regenerate"); the count or cost that stands beside them is a description.
    const axe = new AxeBuilder({ page: this.page }).disableRules(["label-content-name-mismatch"]);
    const { violations } = await axe.analyze();
    return violations.map(
      ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`,
    );
  }

  /** Pictures of the screen in light and dark, and what axe finds wrong in either. */
  async inBothThemes(name: string): Promise<string[]> {
    const faults: string[] = [];
    for (const colorScheme of ["light", "dark"] as const) {
      await this.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await this.screenshot(`${name}.${colorScheme}`);
      faults.push(...(await this.accessibilityFaults()));
    }
    await this.page.emulateMedia({ colorScheme: "light" });
    return faults;
  }

  async screenshot(name: string): Promise<void> {
    await mkdir(results, { recursive: true });
    await this.page.screenshot({ path: path.join(results, `${name}.png`) });
  }
}
