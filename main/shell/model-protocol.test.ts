import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WEIGHTS_PATH } from "../contract/bridge.ts";
import { createWeightFiles } from "./model-protocol.ts";

let folder: string;
const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "tarn-weights-"));
  await writeFile(path.join(folder, "a b.gguf"), bytes);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function registered() {
  const weights = createWeightFiles();
  const address = weights.register(path.join(folder, "a b.gguf"));
  return { weights, address, asked: address.slice(WEIGHTS_PATH.length) };
}

test("gives a registered file an address that says its name and nothing of the disk", () => {
  const { weights, address } = registered();
  expect(address).toBe("/weights/1/a%20b.gguf");
  expect(weights.register(path.join(folder, "a b.gguf"))).toBe(address);
});

test("answers a range with exactly its bytes, both ends included", async () => {
  const { weights, asked } = registered();
  const response = await weights.respond(asked, "bytes=10-19");
  expect(response.status).toBe(206);
  expect(response.headers.get("content-range")).toBe("bytes 10-19/100");
  expect(new Uint8Array(await response.arrayBuffer())).toEqual(bytes.slice(10, 20));
});

test("tells the length when no range is asked for, and sends no bytes", async () => {
  const { weights, asked } = registered();
  const response = await weights.respond(asked, null);
  expect(response.headers.get("x-file-bytes")).toBe("100");
  expect((await response.arrayBuffer()).byteLength).toBe(0);
});

test.each([
  "bytes=0-100",
  "bytes=-5",
  "bytes=5-",
  "bytes=9-3",
  "bytes=0-1,4-5",
  "bytes=0-999999999999999",
  "lines=1-2",
  "",
])("refuses the range %j", async (range) => {
  const { weights, asked } = registered();
  expect((await weights.respond(asked, range)).status).toBe(416);
});

test.each(["2/a b.gguf", "../1", "", "constructor", "/etc/passwd"])(
  "knows no file under %j",
  async (asked) => {
    const { weights } = registered();
    expect((await weights.respond(asked, "bytes=0-1")).status).toBe(404);
  },
);
