import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { request } from "node:http";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import {
  API_PATH,
  CLOSE_UNAUTHORIZED,
  decodeServerFrame,
  encodeFrame,
  type ClientFrame,
  type ServerFrame,
} from "../contract/frames.ts";
import { createFakeEngine } from "../services/fake-engine.ts";
import { loadTokenizer } from "../services/tokenizer/load-tokenizer.ts";
import { startBrowserShell, type BrowserShell } from "./index.ts";

const resourcesFolder = fileURLToPath(new URL("../../resources", import.meta.url));
let folder: string;
let shell: BrowserShell;
let address: URL;
let token: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-server-"));
  const rendererFolder = join(folder, "renderer");
  mkdirSync(rendererFolder);
  writeFileSync(join(rendererFolder, "index.html"), "<!doctype html><title>Tarn</title>");
  writeFileSync(join(folder, "secret.json"), "{}");
  const { tokenizer } = await loadTokenizer(
    join(resourcesFolder, "models/tarn-default-25m-Q8_0.gguf"),
  );
  const engine = createFakeEngine();
  engine.answers = [
    [...(await tokenizer.encodeText(" Hello there, friend.", { first: false })), 5],
  ];
  shell = await startBrowserShell({
    data: join(folder, "data"),
    port: 0,
    rendererFolder,
    resourcesFolder,
    version: "1.2.3",
    startEngine: () => engine.client,
    model: null,
  });
  address = new URL(shell.address);
  token = address.searchParams.get("token") ?? "";
});
afterAll(async () => {
  await shell?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** fetch sets Host itself; here it is the test's. */
function get(
  path: string,
  headers: Record<string, string> = {},
): Promise<{
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly body: string;
}> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port: address.port, path, headers }, (response) => {
      let body = "";
      response.on("data", (chunk) => (body += chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
    });
    asked.on("error", reject);
    asked.end();
  });
}

interface Client {
  readonly socket: WebSocket;
  next(): Promise<ServerFrame>;
  readonly closed: Promise<number>;
}

function connect(origin: string | null, path = API_PATH): Client {
  const socket = new WebSocket(`ws://${address.host}${path}`, origin === null ? {} : { origin });
  const frames: ServerFrame[] = [];
  const waiting: ((frame: ServerFrame) => void)[] = [];
  socket.on("message", (data: Buffer) => {
    const frame = decodeServerFrame(data);
    const first = waiting.shift();
    if (first === undefined) frames.push(frame);
    else first(frame);
  });
  const closed = new Promise<number>((resolve) => {
    socket.on("close", resolve);
    socket.on("error", () => resolve(-1));
  });
  return {
    socket,
    closed,
    next: () => {
      const frame = frames.shift();
      return frame === undefined
        ? new Promise((resolve) => waiting.push(resolve))
        : Promise.resolve(frame);
    },
  };
}

async function welcomed(): Promise<Client & { send(frame: ClientFrame): void }> {
  const client = connect(address.origin);
  await new Promise((resolve) => client.socket.on("open", resolve));
  client.socket.send(encodeFrame({ hello: token }));
  expect(await client.next()).toEqual({ welcome: true });
  return { ...client, send: (frame) => client.socket.send(encodeFrame(frame)) };
}

describe("the page", () => {
  test("is served with a strict policy", async () => {
    const { status, headers, body } = await get("/");
    expect([status, body]).toEqual([200, "<!doctype html><title>Tarn</title>"]);
    expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; script-src 'self';/);
    expect(headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "cross-origin-opener-policy": "same-origin",
      "referrer-policy": "no-referrer",
    });
  });

  test("nothing outside its folder is", async () => {
    for (const path of [
      "/../secret.json",
      "/%2e%2e/secret.json",
      "/..%2fsecret.json",
      "/a.json",
      "/%",
      "/data/tarn.sqlite",
    ]) {
      expect((await get(path)).status).toBe(404);
    }
  });

  test("another name for this computer is refused, and another page", async () => {
    expect((await get("/", { host: "tarn.example" })).status).toBe(403);
    expect((await get("/", { host: `evil.example:${address.port}` })).status).toBe(403);
    expect((await get("/", { origin: "http://evil.example" })).status).toBe(403);
    expect((await get("/", { host: `localhost:${address.port}` })).status).toBe(200);
  });
});

test("the token is kept for this user alone", () => {
  expect(token).toMatch(/^[\w-]{43}$/);
  expect(statSync(join(folder, "data/server-token")).mode & 0o077).toBe(0);
});

describe("the contract", () => {
  test("calls are answered, checked, and their errors typed", async () => {
    const client = await welcomed();
    client.send({ id: 1, call: "app.info", input: {} });
    expect(await answerTo(client, 1)).toMatchObject({
      ok: true,
      output: { version: "1.2.3", shell: "browser" },
    });
    client.send({ id: 2, call: "chats.get", input: { chatId: 7 } });
    expect(await answerTo(client, 2)).toMatchObject({ ok: false, error: { code: "bad-request" } });
    client.send({ id: 3, call: "__proto__", input: {} });
    expect(await answerTo(client, 3)).toMatchObject({ ok: false, error: { code: "bad-request" } });
    client.send({
      id: 4,
      call: "documents.import",
      input: { name: "a.txt", mediaType: "", bytes: new TextEncoder().encode("words") },
    });
    expect(await answerTo(client, 4)).toMatchObject({
      ok: true,
      output: { name: "a.txt", characters: 5 },
    });
    client.send({ id: 5, call: "shell.openLink", input: { url: "file:///etc/passwd" } });
    expect(await answerTo(client, 5)).toMatchObject({ ok: false, error: { code: "bad-request" } });
    client.socket.close();
  });

  test("events reach the page", async () => {
    const client = await welcomed();
    client.send({ id: 1, call: "settings.set", input: { theme: "dark" } });
    for (;;) {
      const frame = await client.next();
      if ("event" in frame && frame.event === "settings.changed") {
        expect(frame.data).toMatchObject({ theme: "dark" });
        break;
      }
    }
    client.socket.close();
  });

  test("a wrong token, a call before hello, and a foreign page are turned away", async () => {
    for (const first of [
      encodeFrame({ hello: "wrong" }),
      encodeFrame({ id: 1, call: "app.info", input: {} }),
      new Uint8Array([0xc1]),
    ]) {
      const client = connect(address.origin);
      client.socket.on("open", () => client.socket.send(first));
      expect(await client.closed).toBe(CLOSE_UNAUTHORIZED);
    }
    expect(await connect("http://evil.example").closed).toBe(-1);
    expect(await connect(address.origin, "/elsewhere").closed).toBe(-1);
  });
});

describe("who has not said hello", () => {
  const isOpen = (client: Client): Promise<boolean> =>
    Promise.race([
      new Promise<boolean>((resolve) => client.socket.on("open", () => resolve(true))),
      client.closed.then(() => false),
    ]);

  test("cannot end the program by an address that is none, or by breaking off", async () => {
    const asked = (path: string): string =>
      [
        `GET ${path} HTTP/1.1`,
        `Host: ${address.host}`,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "\r\n",
      ].join("\r\n");
    for (const path of ["//", "/elsewhere", API_PATH]) {
      const whole = connectSocket(Number(address.port), "127.0.0.1");
      whole.write(asked(path));
      const [answer] = (await once(whole, "data")) as [Buffer];
      expect(answer.toString()).toMatch(/^HTTP\/1\.1 40[03] /);
      whole.resetAndDestroy();
      const broken = connectSocket(Number(address.port), "127.0.0.1");
      await new Promise<void>((resolve) => broken.write(asked(path), () => resolve()));
      broken.resetAndDestroy();
    }
    expect((await get("/")).status).toBe(200);
  });

  test("is not listened to for long: a large message is cut off before it is held", async () => {
    const client = connect(address.origin);
    expect(await isOpen(client)).toBe(true);
    client.socket.send(new Uint8Array(2 ** 20));
    // Without a word about the token, which would stand behind the message.
    expect(await client.closed).toBe(1006);
  });

  test("may come again when it was late: its token was not wrong", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const client = connect(address.origin);
    expect(await isOpen(client)).toBe(true);
    vi.advanceTimersByTime(10_000);
    expect(await client.closed).toBe(1013);
  });

  test("is one of a few at a time", async () => {
    // On a busy machine the first would be sent away before the last has come.
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const strangers = Array.from({ length: 32 }, () => connect(address.origin));
    expect(await Promise.all(strangers.map(isOpen))).not.toContain(false);
    expect(await connect(address.origin).closed).toBe(-1);
    const [one, ...others] = strangers;
    one?.socket.send(encodeFrame({ hello: token }));
    expect(await one?.next()).toEqual({ welcome: true });
    const next = connect(address.origin);
    expect(await isOpen(next)).toBe(true);
    for (const { socket } of strangers) socket.terminate();
    next.socket.terminate();
    await Promise.all([...others, next].map(({ closed }) => closed));
  });
});

async function answerTo(client: Client, id: number): Promise<ServerFrame> {
  for (;;) {
    const frame = await client.next();
    if ("id" in frame && frame.id === id) return frame;
  }
}

describe("the OpenAI-compatible API", () => {
  const ask = (body: unknown, key = token): Promise<Response> =>
    fetch(new URL("/v1/chat/completions", address), {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  const messages = [{ role: "user", content: "Hi" }];

  test("lists models, with the key only", async () => {
    const listed = await fetch(new URL("/v1/models", address), {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(await listed.json()).toMatchObject({
      object: "list",
      data: [{ id: "tarn-default-25m-Q8_0", object: "model" }],
    });
    expect((await ask({ messages }, "wrong")).status).toBe(401);
    expect((await fetch(new URL("/v1/models", address))).status).toBe(401);
  });

  test("answers at once, and stops at a stop string", async () => {
    expect(await (await ask({ messages })).json()).toMatchObject({
      object: "chat.completion",
      choices: [
        { message: { role: "assistant", content: "Hello there, friend." }, finish_reason: "stop" },
      ],
    });
    expect(await (await ask({ messages, stop: [","] })).json()).toMatchObject({
      choices: [{ message: { content: "Hello there" }, finish_reason: "stop" }],
    });
    expect(await (await ask({ messages, max_tokens: 1 })).json()).toMatchObject({
      choices: [{ finish_reason: "length" }],
      usage: { completion_tokens: 1 },
    });
  });

  test("streams", async () => {
    const lines = (await (await ask({ messages, stream: true })).text())
      .split("\n")
      .filter((line) => line.startsWith("data: "));
    expect(lines.at(-1)).toBe("data: [DONE]");
    const text = lines
      .slice(0, -1)
      .map((line): unknown => JSON.parse(line.slice(6)).choices[0].delta.content ?? "")
      .join("");
    expect(text).toBe("Hello there, friend.");
  });

  test("refuses what it does not take", async () => {
    expect((await ask({ messages: [] })).status).toBe(400);
    expect((await ask({ messages: [{ role: "assistant", content: "x" }] })).status).toBe(400);
    expect((await ask({ messages, temperature: 99 })).status).toBe(400);
    expect(
      (await ask({ messages: [{ role: "user", content: "x".repeat(9 * 2 ** 20) }] })).status,
    ).toBe(400);
  });
});
