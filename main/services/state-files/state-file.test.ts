import fc from "fast-check";
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { isStateFile, readStateFile, writeStateFile, type StateFile } from "./state-file.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const contents: StateFile = {
  title: "A walk to the lake",
  model: { name: "tarn-default-25m", modelHash: "a".repeat(64), tokenizerHash: "b".repeat(64) },
  createdAt: 1_700_000_000_000,
  position: 5,
  read: [
    {
      role: "document",
      name: "lake.txt",
      tokens: 5,
      sha256: sha256("The lake keeps its size."),
      text: "The lake keeps its size.",
      ids: new Uint8Array([1, 0, 0, 0, 2, 0, 0, 0]),
    },
    { role: "user", name: null, tokens: 3, sha256: sha256("gone"), text: null, ids: null },
  ],
  snapshot: new Uint8Array([9, 8, 7, 6, 5]),
};

test("gives back what was sealed", async () => {
  const bytes = await writeStateFile(contents, null);
  expect(isStateFile(bytes)).toBe(true);
  expect(await readStateFile(bytes, null)).toEqual(contents);
});

test("gives back what was encrypted, to the passphrase only", async () => {
  const bytes = await writeStateFile(contents, "dérive");
  expect(await readStateFile(bytes, "dérive".normalize("NFD"))).toEqual(contents);
  await expect(readStateFile(bytes, "derive")).rejects.toMatchObject({ code: "unauthorized" });
  await expect(readStateFile(bytes, null)).rejects.toMatchObject({ code: "unauthorized" });
});

test("an encrypted file shows no word of what was read, nor of the model", async () => {
  const bytes = Buffer.from(await writeStateFile(contents, "passphrase"));
  for (const secret of ["lake", "tarn-default", "walk", sha256("gone")])
    expect(bytes.includes(secret)).toBe(false);
});

test("refuses a file with any byte changed, sealed or encrypted", async () => {
  const sealed = await writeStateFile(contents, null);
  for (let at = 0; at < sealed.byteLength; at++) {
    const damaged = Uint8Array.from(sealed);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    await expect(readStateFile(damaged, null)).rejects.toMatchObject({
      code: expect.stringMatching(/^state-(corrupt|foreign)$/),
    });
  }
  // Deriving a key takes tenths of a second: some places of each part.
  const encrypted = await writeStateFile(contents, "passphrase");
  for (const at of [0, 9, 20, encrypted.byteLength - 60, encrypted.byteLength - 1]) {
    const damaged = Uint8Array.from(encrypted);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    await expect(readStateFile(damaged, "passphrase")).rejects.toMatchObject({
      name: "TarnError",
      code: expect.stringMatching(/^(state-(corrupt|foreign)|unauthorized)$/),
    });
  }
});

test("refuses a file that is cut off anywhere", async () => {
  const bytes = await writeStateFile(contents, null);
  for (let length = 0; length < bytes.byteLength; length++) {
    await expect(readStateFile(bytes.slice(0, length), null)).rejects.toMatchObject({
      name: "TarnError",
    });
  }
});

test("refuses whatever else it is given", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (noise, headed) => {
      const bytes = headed ? Buffer.concat([Buffer.from("TARNFILE\x01\0\0\0"), noise]) : noise;
      await expect(readStateFile(bytes, "x")).rejects.toMatchObject({ name: "TarnError" });
    }),
  );
});

test("makes nothing of what a file claims and does not hold", async () => {
  const bytes = await writeStateFile(contents, null);
  const head = Buffer.alloc(16);
  head.set(Buffer.from(bytes).subarray(0, 12));
  // A thousand arrays inside each other, each of 32 million values by its own word: 256 GB.
  const claims = Buffer.concat(
    Array.from({ length: 1000 }, () => Buffer.from("dd02000000", "hex")),
  );
  const preface = JSON.stringify({ contentsBytes: claims.byteLength, encryption: null });
  head.writeUInt32LE(preface.length, 12);
  const body = Buffer.concat([head, Buffer.from(preface), zstdCompressSync(claims)]);
  const seal = createHash("sha256").update(body).digest();
  await expect(readStateFile(Buffer.concat([body, seal]), null)).rejects.toMatchObject({
    code: "state-corrupt",
    cause: { message: expect.stringContaining("claims 33554432 values") },
  });
});

test("refuses a text that is not the one that was read", async () => {
  const read = contents.read.map((piece) => ({ ...piece, text: "Another text." }));
  const bytes = await writeStateFile({ ...contents, read }, null);
  await expect(readStateFile(bytes, null)).rejects.toMatchObject({ code: "state-corrupt" });
});

test("spends no more memory on a key than it would itself", async () => {
  const bytes = Buffer.from(await writeStateFile(contents, "passphrase"));
  const greedy = Buffer.from(
    bytes.toString("latin1").replace('"N":131072', '"N":524288'),
    "latin1",
  );
  await expect(readStateFile(greedy, "passphrase")).rejects.toMatchObject({ name: "TarnError" });
});
