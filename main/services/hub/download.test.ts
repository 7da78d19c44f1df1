/** Downloads from a server that behaves as badly as servers and lines do. */
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { download, type RemoteFile } from "./download.ts";

const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7919) >> 3);
const other = content.map((byte) => byte ^ 1);
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

let folder: string;
let target: string;
let server: Server;
/** What the server does, request after request; the last goes on. */
let script: ((request: IncomingMessage, response: ServerResponse) => void)[];
let requests: IncomingMessage[];
let file: RemoteFile;
/** Is told of each byte that the download says is there. */
let progressed: (done: number) => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tarn-download-"));
  target = join(folder, "a/b/model.gguf");
  requests = [];
  progressed = () => {};
  script = [serve()];
  server = createServer((request, response) => {
    requests.push(request);
    (script.length > 1 ? script.shift() : script[0])?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  file = {
    url: `http://127.0.0.1:${port}/m`,
    bytes: content.length,
    hash: { algorithm: "sha256", hex: sha256(content) },
  };
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

/** Calls `then` when the download has `bytes`: not some time after they were sent, which a busy machine may not have read then. */
function whenThere(bytes: number, then: () => void): void {
  progressed = (done) => {
    if (done >= bytes) then();
  };
}

/** A server that honours ranges; `upTo` bytes in, it cuts the line. */
function serve(
  bytes: Uint8Array = content,
  { etag = '"one"', upTo = Infinity }: { readonly etag?: string; readonly upTo?: number } = {},
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const ranged = from > 0 && request.headers["if-range"] === etag;
    const rest = ranged ? bytes.subarray(from) : bytes;
    response.writeHead(ranged ? 206 : 200, {
      etag,
      "content-length": rest.length,
      ...(ranged ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}),
    });
    if (upTo >= rest.length) return void response.end(rest);
    whenThere(bytes.length - rest.length + upTo, () => response.destroy());
    response.write(rest.subarray(0, upTo));
  };
}

async function run(signal = new AbortController().signal): Promise<number[]> {
  const progress: number[] = [];
  await download(file, target, {
    signal,
    onProgress: (done) => {
      progress.push(done);
      progressed(done);
    },
    waits: [1, 1, 1],
  });
  return progress;
}

function expectWhole(): void {
  expect(sha256(readFileSync(target))).toBe(sha256(content));
  expect(existsSync(`${target}.part`)).toBe(false);
  expect(existsSync(`${target}.part.json`)).toBe(false);
}

test("puts a file in its place, and does not fetch it twice", async () => {
  expect((await run()).at(-1)).toBe(content.length);
  expectWhole();
  expect(await run()).toEqual([content.length]);
  expect(requests.length).toBe(1);
});

test("checks a git blob by its own kind of hash", async () => {
  const blob = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
  file = { ...file, hash: { algorithm: "git-sha1", hex: blob } };
  await run();
  expectWhole();
});

test("goes on where the line broke, again and again", async () => {
  script = [serve(content, { upTo: 100_000 }), serve(content, { upTo: 50_000 }), serve()];
  await run();
  expectWhole();
  expect(requests.map(({ headers }) => headers.range)).toEqual([
    undefined,
    "bytes=100000-",
    "bytes=150000-",
  ]);
});

test("goes on in another run", async () => {
  script = [serve(content, { upTo: 100_000 }), (_, response) => response.destroy()];
  await expect(run()).rejects.toMatchObject({ code: "download" });
  expect(existsSync(target)).toBe(false);
  script = [serve()];
  requests = [];
  await run();
  expectWhole();
  expect(requests[0]?.headers.range).toBe("bytes=100000-");
});

test("begins anew when the server's file changed in between", async () => {
  script = [serve(other, { etag: '"old"', upTo: 100_000 }), serve()];
  await run();
  expectWhole();
});

test("begins anew when a range of another file comes", async () => {
  script = [
    serve(content, { upTo: 100_000 }),
    (_, response) => {
      response.writeHead(206, { etag: '"two"', "content-range": "bytes 5-9/10" });
      response.end("12345");
    },
    serve(),
  ];
  await run();
  expectWhole();
});

test("gives up on a file that never stays the same", async () => {
  script = [
    (_, response) => {
      response.writeHead(206, { etag: '"x"', "content-range": "bytes 1-2/3" });
      response.end("ab");
    },
  ];
  await expect(run()).rejects.toMatchObject({
    code: "download",
    message: expect.stringContaining("changed the file"),
  });
});

test("removes what has the wrong content, and says so", async () => {
  script = [serve(other)];
  await expect(run()).rejects.toMatchObject({
    code: "download",
    message: expect.stringMatching(/its sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}/),
  });
  expect(existsSync(target)).toBe(false);
  expect(existsSync(`${target}.part`)).toBe(false);
});

test("refuses more bytes than were announced, before they fill the disk", async () => {
  script = [
    (_, response) => {
      response.writeHead(200, { etag: '"one"' });
      const pour = (): void => {
        while (response.write(new Uint8Array(65_536)));
        response.once("drain", pour);
      };
      pour();
    },
  ];
  await expect(run()).rejects.toMatchObject({
    message: expect.stringContaining("sends more than"),
  });
  expect(existsSync(`${target}.part`)).toBe(false);
});

test("gives up on a server that ends too early each time, and keeps what came", async () => {
  script = [
    (_, response) => {
      response.writeHead(200, { etag: '"one"', "content-length": content.length });
      whenThere(3, () => response.destroy());
      response.write("abc");
    },
    (_, response) => response.destroy(),
  ];
  await expect(run()).rejects.toMatchObject({ code: "download" });
  expect(existsSync(target)).toBe(false);
  expect(readFileSync(`${target}.part`, "utf8")).toBe("abc");
});

test("starts again from nothing where the server gives no strong ETag", async () => {
  script = [
    serve(content, { etag: 'W/"weak"', upTo: 100_000 }),
    serve(content, { etag: 'W/"weak"' }),
  ];
  await run();
  expectWhole();
  expect(requests[1]?.headers.range).toBeUndefined();
});

test("is not led astray by a foreign part or note", async () => {
  await run();
  rmSync(target);
  writeFileSync(`${target}.part`, "foreign");
  writeFileSync(`${target}.part.json`, "{not json");
  await run();
  expectWhole();
});

test("waits out a server that is busy", async () => {
  script = [
    (_, response) => response.writeHead(503).end(),
    (_, response) => response.writeHead(429).end(),
    serve(),
  ];
  await run();
  expectWhole();
});

test.each([404, 401, 403])(
  "says what a status of %i means, and does not try again",
  async (status) => {
    script = [(_, response) => void response.writeHead(status).end()];
    await expect(run()).rejects.toMatchObject({
      code: "download",
      message: expect.stringContaining(String(status)),
    });
    expect(requests.length).toBe(1);
  },
);

test("stops when it is told to, and keeps the part", async () => {
  const controller = new AbortController();
  script = [
    (_, response) => {
      response.writeHead(200, { etag: '"one"', "content-length": content.length });
      whenThere(100_000, () => controller.abort());
      response.write(content.subarray(0, 100_000));
    },
  ];
  await expect(run(controller.signal)).rejects.toMatchObject({ code: "cancelled" });
  expect(readFileSync(`${target}.part`).length).toBe(100_000);
  script = [serve()];
  await run();
  expectWhole();
});

test("refuses a file that the disk has no room for, before it begins", async () => {
  file = { ...file, bytes: 2 ** 52 };
  await expect(run()).rejects.toMatchObject({ code: "disk-full" });
  expect(requests).toEqual([]);
});
