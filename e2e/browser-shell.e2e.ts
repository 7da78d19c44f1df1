/** First light: the browser shell, the real engine and the default model, from an empty data folder to after a power cut. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { get } from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Browser, WebSocketRoute } from "playwright";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { decodeServerFrame } from "../main/contract/frames.ts";
import { dataFolder, launchBrowser, type Server, startServer, TarnApp } from "./app.ts";
import { minutes } from "./document.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const FACT = "The access code for the archive is 4821.";
const PAGES = 24;
const deltaSchema = z.object({ text: z.string() });
const FACT_PAGE = 17;

let data: Awaited<ReturnType<typeof dataFolder>>;
let browser: Browser;
let server: Server;
let app: TarnApp;

beforeAll(async () => {
  data = await dataFolder();
  browser = await launchBrowser();
  server = await startServer(data.path);
  app = await TarnApp.open(browser, server.address);
});

afterAll(async () => {
  await browser?.close();
  await server?.kill();
  await data?.release();
});

test("prints its address as the one line of standard output", () => {
  expect(server.stdout).toEqual([`Tarn is at ${server.address}`]);
});

test("shows nothing without the token, and answers no foreign host", async () => {
  const bare = new URL(server.address);
  bare.searchParams.set("token", "wrong");
  const page = await browser.newPage();
  await page.goto(bare.href);
  await page
    .getByText(/token|address/i)
    .first()
    .waitFor();
  expect(
    await page.getByRole("list", { name: "Chats", exact: true }).getByRole("listitem").count(),
  ).toBe(0);
  await page.close();
  expect(await statusAs("tarn.example")).toBeGreaterThanOrEqual(400);
  expect(await statusAs(bare.host)).toBe(200);
});

test("answers with the default model, streaming", async () => {
  const { pieces, goOn } = await holdBehindFirstPiece();
  await app.message.fill("What is the capital of France?");
  await app.button("Send").click();
  const answer = app.answers.first();
  // What is no letter may be Markdown.
  const lettersOf = (text: string): string => text.replaceAll(/\P{Letter}/gu, "");
  const words = async () => lettersOf(await answer.locator(".md").innerText());
  // The first piece is on the screen while the others are still on their way.
  await expect.poll(words).not.toBe("");
  await app.button("Stop").waitFor();
  expect(await words()).toBe(lettersOf(pieces[0] ?? ""));
  goOn();
  await app.settled();
  expect(pieces.length).toBeGreaterThan(1);
  await expect.poll(words).toBe(lettersOf(pieces.join("")));
  await app.screenshot("conversation-light");
});

test("finds a planted fact in a PDF, and shows the passage with its page", async () => {
  await app.button("New chat").click();
  await app.attach("minutes.pdf", "application/pdf", await minutes(PAGES, { [FACT_PAGE]: FACT }));
  await app.page.getByText("minutes.pdf").first().waitFor();
  const answer = await app.ask("What is the access code for the archive?");
  expect(await answer.innerText()).toContain("4821");
  const conversation = await app.conversation.innerText();
  expect(conversation).toContain(FACT);
  expect(conversation).toMatch(new RegExp(`(?:page|p\\.)\\s*${FACT_PAGE}\\b`, "i"));
  await app.screenshot("document-light");
});

test("is still there after SIGKILL, and the next turn reads its own tokens only", async () => {
  const before = await app.answers.last().innerText();
  await server.kill();
  await app.page.close();
  server = await startServer(data.path);
  app = await TarnApp.open(browser, server.address);
  await app.chats
    .getByRole("listitem")
    .first()
    .getByRole("button")
    .or(app.chats.getByRole("listitem").first().getByRole("link"))
    .first()
    .click();
  await expect.poll(() => app.answers.last().innerText()).toBe(before);

  const question = "Thank you.";
  const answer = await app.ask(question);
  const prefilled = await app.prefilled(answer);
  expect(prefilled).toBe(await turnTokens(question));
  expect(prefilled).toBeLessThan(60);
});

test("regenerates from the stored state: nothing is read", async () => {
  await app.button("Regenerate").last().click();
  await expect.poll(() => app.answers.last().getAttribute("data-prefilled")).toBe("0");
  await app.settled();
});

test("asks nothing of the network, and reports no error", () => {
  expect(app.outside).toEqual([]);
  expect(app.complaints).toEqual([]);
});

test("has no accessibility faults, light and dark", async () => {
  expect(await app.accessibilityFaults()).toEqual([]);
  await app.page.emulateMedia({ colorScheme: "dark" });
  expect(await app.accessibilityFaults()).toEqual([]);
  await app.screenshot("conversation-dark");
});

/** Opens the page anew, on a connection that lets nothing through behind the first piece of an answer until it may go on. */
async function holdBehindFirstPiece(): Promise<{
  readonly pieces: readonly string[];
  goOn(): void;
}> {
  const pieces: string[] = [];
  let held: (string | Buffer)[] | null = [];
  let page: WebSocketRoute | null = null;
  await app.page.routeWebSocket(/./, (toPage) => {
    page = toPage;
    toPage.connectToServer().onMessage((message) => {
      const piece = pieceIn(message);
      const isBehind = pieces.length > 0 && held !== null;
      if (piece !== null) pieces.push(piece);
      if (isBehind) held?.push(message);
      else toPage.send(message);
    });
  });
  await app.page.reload();
  await app.message.waitFor();
  return {
    pieces,
    goOn() {
      for (const message of held ?? []) page?.send(message);
      held = null;
    },
  };
}

/** The words of a `message.delta`; null in any other frame. */
function pieceIn(message: string | Buffer): string | null {
  const frame = decodeServerFrame(Buffer.from(message));
  if (!("event" in frame) || frame.event !== "message.delta") return null;
  return deltaSchema.parse(frame.data).text;
}

/** The status of the page for a request that says it is for `host`, as a rebound DNS name would. */
function statusAs(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get(server.address, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    }).on("error", reject);
  });
}

/** Tokens of a user's turn as the default model's template writes it, by the command line's exact tokenizer. */
async function turnTokens(text: string): Promise<number> {
  const file = path.join(data.path, "turn.txt");
  await writeFile(file, `<|user|> ${text}<|end|><|assistant|>`);
  const model = path.join(root, "resources/models/tarn-default-25m-Q8_0.gguf");
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      path.join(root, "main/cli/launch.ts"),
      "tokenize",
      "--model",
      model,
      "--text",
      file,
      "--no-special",
    ],
    { cwd: root },
  );
  const ids: unknown = JSON.parse(stdout);
  if (!Array.isArray(ids)) throw new Error(`tarn tokenize printed ${stdout}`);
  return ids.length;
}
