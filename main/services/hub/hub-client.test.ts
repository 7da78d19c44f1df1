import { createServer, type Server } from "node:http";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createHubClient, type HubClient, type HubFiles } from "./hub-client.ts";
import { chooseFiles, pull, type PullProgress } from "./pull.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
let server: Server;
let hub: HubClient;
/** The answers by path; a function of the request's headers, or JSON. */
let answers: Map<string, unknown>;
let seen: { readonly path: string; readonly authorization: string | undefined }[];

beforeEach(async () => {
  answers = new Map();
  seen = [];
  server = createServer((request, response) => {
    const path = decodeURI(request.url ?? "").replace(/\?.*$/, "");
    seen.push({ path, authorization: request.headers.authorization });
    const answer = answers.get(path);
    if (answer === undefined) return void response.writeHead(404).end();
    if (typeof answer === "number") return void response.writeHead(answer).end();
    if (answer instanceof Uint8Array)
      return void response
        .writeHead(200, { etag: '"x"', "content-length": answer.length })
        .end(answer);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  hub = createHubClient({ HF_ENDPOINT: `http://127.0.0.1:${port}/`, HF_TOKEN: "hf_abc" });
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

function blob(path: string, bytes: Uint8Array): object {
  const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  answers.set(`/o/m/resolve/${COMMIT}/${path}`, bytes);
  return { type: "file", path, size: bytes.length, oid };
}

function large(path: string, bytes: Uint8Array): object {
  const oid = createHash("sha256").update(bytes).digest("hex");
  return { ...blob(path, bytes), lfs: { oid, size: bytes.length, pointerSize: 1 } };
}

function publish(...entries: readonly object[]): void {
  answers.set("/api/models/o/m/revision/main", { _id: "1", id: "o/m", sha: COMMIT });
  answers.set(`/api/models/o/m/tree/${COMMIT}`, entries);
}

test("searches", async () => {
  answers.set("/api/models", [
    {
      _id: "1",
      id: "o/m",
      private: false,
      downloads: 5,
      gated: "auto",
      likes: 2,
      lastModified: "2026-01-02T00:00:00.000Z",
    },
  ]);
  expect(await hub.search("mamba", 10)).toEqual([
    { name: "o/m", downloads: 5, likes: 2, gated: true, updatedAt: "2026-01-02T00:00:00.000Z" },
  ]);
});

test("pulls the files of one commit, checked, with the token", async () => {
  const weights = Uint8Array.from({ length: 5000 }, (_, i) => i);
  publish(
    blob("config.json", new TextEncoder().encode("{}")),
    large("model.safetensors", weights),
    large("pytorch_model.bin", weights),
    { type: "directory", path: "onnx", size: 0, oid: COMMIT },
  );
  const folder = mkdtempSync(join(tmpdir(), "tarn-pull-"));
  try {
    const found = await hub.files("o/m", "main");
    expect(found.commit).toBe(COMMIT);
    const progress: PullProgress[] = [];
    await pull(hub, chooseFiles(found, null), folder, {
      signal: new AbortController().signal,
      onProgress: (step) => progress.push(step),
    });
    expect(readdirSync(folder).toSorted()).toEqual(["config.json", "model.safetensors"]);
    expect(new Uint8Array(readFileSync(join(folder, "model.safetensors")))).toEqual(weights);
    expect(progress.at(-1)).toMatchObject({ file: "model.safetensors", done: 5002, bytes: 5002 });
    expect(seen.every(({ authorization }) => authorization === "Bearer hf_abc")).toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test.each(["../x", "a/../../x", "/etc/passwd", "a//b", "..\\x", "C:x", "nul\u0000", "."])(
  "refuses a file named %j",
  async (path) => {
    publish({ type: "file", path, size: 1, oid: COMMIT });
    await expect(hub.files("o/m", "main")).rejects.toMatchObject({ code: "download" });
  },
);

test.each([
  ["a size below nothing", { type: "file", path: "a", size: -1, oid: COMMIT }],
  ["a hash that is none", { type: "file", path: "a", size: 1, oid: "zz" }],
  ["no path", { type: "file", size: 1, oid: COMMIT }],
])("refuses a list with %s", async (_, entry) => {
  publish(entry);
  await expect(hub.files("o/m", "main")).rejects.toMatchObject({ code: "download" });
});

test("says what is wrong with a name, a revision, a model that is not there, a gate, and no connection", async () => {
  await expect(hub.files("mamba", "main")).rejects.toMatchObject({ code: "bad-request" });
  await expect(hub.files("o/../m", "main")).rejects.toMatchObject({ code: "bad-request" });
  await expect(hub.files("o/m", "../x")).rejects.toMatchObject({ code: "bad-request" });
  await expect(hub.files("o/none", "main")).rejects.toMatchObject({ code: "not-found" });
  answers.set("/api/models/o/gated/revision/main", 403);
  await expect(hub.files("o/gated", "main")).rejects.toMatchObject({ code: "unauthorized" });
  expect(() => createHubClient({ HF_ENDPOINT: "ftp://x" })).toThrow(/no web address/);
  const nowhere = createHubClient({ HF_ENDPOINT: "http://127.0.0.1:1" });
  await expect(nowhere.search("x", 1)).rejects.toMatchObject({
    code: "download",
    message: expect.stringContaining("cannot be reached"),
  });
});

test("chooses what Tarn reads, and asks where that is not clear", () => {
  const listing = (...paths: readonly string[]): HubFiles => ({
    name: "o/m",
    commit: COMMIT,
    files: paths.map((path) => ({ path, bytes: 1, hash: null, url: "" })),
  });
  const chosen = (wanted: string | null, ...paths: readonly string[]): readonly string[] =>
    chooseFiles(listing(...paths), wanted).map(({ path }) => path);
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const folder = ["config.json", "tokenizer.json", "model.safetensors.index.json"];
  expect(chosen(null, ...folder, ...shards, "consolidated.safetensors", "x.py")).toEqual([
    ...folder,
    ...shards,
  ]);
  expect(chosen(null, "params.json", "consolidated.safetensors")).toEqual([
    "params.json",
    "consolidated.safetensors",
  ]);
  const gguf = ["m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"];
  expect(chosen("q4_k_m", ...gguf)).toEqual(gguf.slice(0, 1));
  expect(chosen("Q8_0", ...gguf)).toEqual(gguf.slice(1));
  expect(chosen(null, "README.md", ...gguf.slice(1))).toEqual(gguf.slice(1));
  expect(() => chosen(null, ...gguf)).toThrow(/several GGUF files/);
  expect(() => chosen("Q", ...gguf)).toThrow(/fits several/);
  expect(() => chosen("Q2", ...gguf)).toThrow(/no GGUF file with "Q2"/);
  expect(() => chosen(null, "model.pth")).toThrow(/neither safetensors nor GGUF/);
});
