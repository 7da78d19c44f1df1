import BetterSqlite3 from "better-sqlite3";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createFakeEngine } from "../fake-engine.ts";
import { startServices } from "../services.testing.ts";
import { MAX_CHARACTERS } from "./formats/text-builder.ts";

test("a document does not become longer, piece by piece, than one may be", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tarn-append-"));
  const file = (text: string) => ({
    name: "a.txt",
    mediaType: "",
    bytes: new TextEncoder().encode(text),
  });
  let app = await startServices(folder, createFakeEngine());
  try {
    const { id: documentId } = await app.handlers["documents.import"](file("A beginning."));
    await app.close();
    const db = new BetterSqlite3(join(folder, "tarn.sqlite"));
    // As if much had been appended before.
    db.prepare("UPDATE documents SET text = substr(hex(zeroblob(@bytes)), 1, @length)").run({
      bytes: MAX_CHARACTERS / 2,
      length: MAX_CHARACTERS - 10,
    });
    db.close();
    app = await startServices(folder, createFakeEngine());
    const append = (text: string) =>
      app.handlers["documents.append"]({ documentId, ...file(text) });
    await expect(append("A sentence too many.")).rejects.toMatchObject({
      code: "document-too-large",
      message: expect.stringContaining("64 million characters. Nothing was added"),
    });
  } finally {
    await app.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
