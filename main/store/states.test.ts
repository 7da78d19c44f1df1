import type { Database } from "better-sqlite3";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createChat, deleteChat, purgeDeletedChats } from "./chats.ts";
import { openDatabase } from "./database.ts";
import { addDocument, removeDocument } from "./documents.ts";
import { addMessages } from "./messages.ts";
import type { MessageRecord, OwnerKind } from "./records.ts";
import {
  dropState,
  loadState,
  pinState,
  saveState,
  shrinkStates,
  statesOf,
  statesOnPath,
  stateSizes,
  type StateToSave,
} from "./states.ts";

const PAGE_BYTES = 3000;
const EVERYTHING = 2 ** 40;

let folder: string;
let file: string;
let db: Database;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-states-"));
  file = join(folder, "tarn.sqlite");
  db = openDatabase({ file, maxPages: null });
  chatOf("c", 6);
});
afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A chat of messages c1, c2, … below each other. */
function chatOf(chatId: string, count: number): void {
  createChat(db, { id: chatId, title: "", baseId: null, now: 1 });
  const messages = Array.from(
    { length: count },
    (_, index): { message: MessageRecord; ids: null } => ({
      message: {
        id: `${chatId}${index + 1}`,
        chatId,
        parentId: index === 0 ? null : `${chatId}${index}`,
        role: index % 2 === 0 ? "user" : "assistant",
        text: "words",
        status: "done",
        error: null,
        passages: [],
        grounds: null,
        persona: null,
        documents: [],
        tokens: 0,
        prefilled: null,
        tokensPerSecond: null,
        sampler: null,
        createdAt: index,
      },
      ids: null,
    }),
  );
  addMessages(db, { chatId, title: null, now: 1, messages });
}

function aDocument(id: string): void {
  const document = {
    id,
    name: "a.txt",
    mediaType: "text/plain",
    bytes: 1,
    sha256: id,
    characters: 1,
    pages: null,
    pageUnit: null,
    notice: null,
    createdAt: 1,
  };
  addDocument(db, { document, text: "x", content: Uint8Array.of(120), passages: [] });
}

const sha256 = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

/** What the engine gives: a head, the hashes of all pages, and the bytes of the last `given` of them. */
function snapshot(pages: readonly Uint8Array[], given = pages.length, head = randomBytes(500)) {
  return {
    bytes: Buffer.concat([head, ...pages.slice(pages.length - given)]),
    headBytes: head.length,
    pageBytes: PAGE_BYTES,
    pageHashes: Buffer.concat(pages.map(sha256)),
  };
}

function save(
  ownerId: string,
  taken: Pick<StateToSave, "bytes" | "headBytes" | "pageBytes" | "pageHashes">,
  more: Partial<StateToSave> & { readonly kind?: OwnerKind; readonly series?: string } = {},
) {
  const { kind = "message", series = "", ...rest } = more;
  return saveState(db, {
    owner: { kind, id: ownerId, series },
    modelHash: "model",
    tokenizerHash: "t",
    numericVersion: 1,
    position: 2,
    prefixHash: "p",
    derivation: null,
    now: 5,
    budget: EVERYTHING,
    ...taken,
    ...rest,
  });
}

function idOf(result: ReturnType<typeof saveState>): number {
  if (result.outcome !== "saved") throw new Error(`not saved: ${result.outcome}`);
  return result.stateId;
}

const pagesOf = (count: number): Buffer[] =>
  Array.from({ length: count }, () => randomBytes(PAGE_BYTES));
const kept = (): string[] =>
  db
    .prepare<[], { readonly owner_id: string }>("SELECT owner_id FROM snapshots ORDER BY owner_id")
    .all()
    .map((row) => row.owner_id);

describe("heads and pages", () => {
  test("come back bit for bit, nearest first, with every page stored once", () => {
    const pages = pagesOf(3);
    const [early, late] = [snapshot(pages.slice(0, 2)), snapshot(pages, 1)];
    save("c1", early);
    const { bytes } = stateSizes(db, {});
    const stateId = idOf(save("c3", late));
    expect(stateSizes(db, {})).toMatchObject({ snapshots: 2, pages: 3 });
    // A turn writes its head and its new page.
    expect(stateSizes(db, {}).bytes - bytes).toBeLessThan(PAGE_BYTES + 600);
    const path = statesOnPath(db, { messageId: "c4", modelHash: "model" });
    expect(path.map((one) => one.owner.id)).toEqual(["c3", "c1"]);
    expect(statesOnPath(db, { messageId: "c4", modelHash: "other" })).toEqual([]);
    expect(path[0]).toMatchObject({ id: stateId, rawBytes: 500 + 3 * PAGE_BYTES });
    const whole = Buffer.concat([late.bytes.subarray(0, 500), ...pages]);
    const loaded = loadState(db, { stateId, now: 6 });
    expect(Buffer.compare(loaded.bytes ?? Buffer.of(), whole)).toBe(0);
  });

  test("a save that counts on pages which are gone asks for all of them, and changes nothing", () => {
    const pages = pagesOf(3);
    expect(save("c3", snapshot(pages, 1))).toEqual({ outcome: "pages-missing" });
    expect(stateSizes(db, {})).toEqual({ snapshots: 0, pages: 0, bytes: 0, pinned: 0 });
    expect(save("c3", snapshot(pages))).toMatchObject({ outcome: "saved" });
  });

  test("a save behind a message that was deleted meanwhile leaves nothing", () => {
    expect(save("gone", snapshot(pagesOf(1)))).toEqual({ outcome: "no-owner" });
    expect(stateSizes(db, {})).toEqual({ snapshots: 0, pages: 0, bytes: 0, pinned: 0 });
  });

  test("saving again at the same place replaces, keeps the pin, and frees pages that are no longer used", () => {
    const [shared, old, fresh] = pagesOf(3);
    if (shared === undefined || old === undefined || fresh === undefined) throw new Error("none");
    const first = idOf(save("c1", snapshot([shared, old])));
    pinState(db, { stateId: first, pinned: true });
    const second = idOf(save("c1", snapshot([shared, fresh]), { numericVersion: 2 }));
    expect(stateSizes(db, {})).toMatchObject({ snapshots: 1, pages: 2 });
    expect(statesOf(db, { kind: "message", ownerId: "c1", modelHash: null })).toMatchObject([
      { id: second, numericVersion: 2, pinned: true },
    ]);
    const loaded = loadState(db, { stateId: second, now: 6 });
    expect(loaded.bytes?.subarray(500)).toEqual(new Uint8Array(Buffer.concat([shared, fresh])));
  });

  test("states of other models and tokenizers lie beside each other", () => {
    save("c1", snapshot([]));
    save("c1", snapshot([]), { modelHash: "other" });
    save("c1", snapshot([]), { tokenizerHash: "other" });
    const all = statesOf(db, { kind: "message", ownerId: "c1", modelHash: null });
    expect(all).toHaveLength(3);
    expect(statesOf(db, { kind: "message", ownerId: "c1", modelHash: "other" })).toHaveLength(1);
  });

  test("a document's checkpoints are listed by series, the furthest first", () => {
    aDocument("d");
    for (const [series, position] of [
      ["whole", 10],
      ["whole", 30],
      ["chunk 1", 7],
      ["whole", 20],
    ] as const)
      save("d", snapshot([]), { kind: "document", series, position });
    const listed = statesOf(db, { kind: "document", ownerId: "d", modelHash: "model" });
    expect(listed.map((one) => [one.owner.series, one.position])).toEqual([
      ["chunk 1", 7],
      ["whole", 30],
      ["whole", 20],
      ["whole", 10],
    ]);
  });
});

describe("damage", () => {
  test.each([
    ["a head that is no zstd", "UPDATE snapshot_heads SET zstd = x'00' WHERE snapshot_id = 1"],
    ["no head", "DELETE FROM snapshot_heads WHERE snapshot_id = 1"],
    ["a page cut off", "UPDATE state_pages SET data = substr(data, 1, 100) WHERE id = 1"],
    ["a missing page", "DELETE FROM snapshot_pages WHERE snapshot_id = 1 AND ordinal = 0"],
  ])("%s is reported and removed", (_, damage) => {
    const stateId = idOf(save("c1", snapshot(pagesOf(2))));
    db.exec(damage);
    expect(loadState(db, { stateId, now: 6 })).toEqual({ bytes: null, damaged: true });
    expect(stateSizes(db, {})).toEqual({ snapshots: 0, pages: 0, bytes: 0, pinned: 0 });
  });

  test("a changed page takes along every snapshot that uses it, and is stored anew", () => {
    const pages = pagesOf(3);
    const first = idOf(save("c1", snapshot(pages.slice(0, 2))));
    save("c3", snapshot(pages));
    save("c2", snapshot(pages.slice(0, 1)));
    // The second page: of c1 and c3.
    db.prepare("UPDATE state_pages SET data = ? WHERE hash = ?").run(
      randomBytes(PAGE_BYTES),
      sha256(pages[1] ?? Buffer.of()),
    );
    dropState(db, { stateId: first, damaged: true });
    expect(kept()).toEqual(["c2"]);
    expect(stateSizes(db, {})).toMatchObject({ pages: 1 });
    expect(save("c3", snapshot(pages, 1))).toEqual({ outcome: "pages-missing" });
    const again = idOf(save("c3", snapshot(pages)));
    const loaded = loadState(db, { stateId: again, now: 6 });
    expect(loaded.bytes?.subarray(500)).toEqual(new Uint8Array(Buffer.concat(pages)));
  });
});

describe("beyond the budget", () => {
  test("ordinary states go before ancestors, ancestors before tips, tips before pins", () => {
    for (const [index, id] of ["c6", "c1", "c5", "c4", "c3", "c2"].entries())
      save(id, snapshot([], 0, randomBytes(1000)), { now: index });
    const c1 = statesOf(db, { kind: "message", ownerId: "c1", modelHash: null })[0];
    pinState(db, { stateId: c1?.id ?? 0, pinned: true });
    // Distances from the tip c6: c5 1, c4 2, c3 3, c2 4.
    const rest = (room: number): string[] => {
      shrinkStates(db, { budget: room * 1050 });
      return kept();
    };
    expect(rest(6)).toHaveLength(6);
    expect(rest(5)).toEqual(["c1", "c2", "c4", "c5", "c6"]);
    expect(rest(4)).toEqual(["c1", "c2", "c4", "c6"]);
    expect(rest(2)).toEqual(["c1", "c6"]);
    expect(rest(1)).toEqual(["c1"]);
  });

  test("of a document the furthest checkpoint stays longest, then those at powers of two before it", () => {
    aDocument("d");
    for (let position = 1; position <= 10; position++)
      save("d", snapshot([], 0, randomBytes(1000)), {
        kind: "document",
        series: "whole",
        position,
        now: position,
      });
    const positions = (): number[] =>
      statesOf(db, { kind: "document", ownerId: "d", modelHash: null }).map((one) => one.position);
    shrinkStates(db, { budget: 5300 });
    expect(positions()).toEqual([10, 9, 8, 6, 2]);
    shrinkStates(db, { budget: 1100 });
    expect(positions()).toEqual([10]);
  });

  test("what was just saved stays, and room is counted in pages that nobody else uses", () => {
    const pages = pagesOf(4);
    save("c1", snapshot(pages), { now: 1 });
    save("c2", snapshot(pages), { now: 2 });
    save("c3", snapshot([], 0, randomBytes(1000)), { now: 3, budget: 5000 });
    // Dropping one of c1 and c2 alone frees only a head.
    expect(kept()).toEqual(["c3"]);
    save("c5", snapshot([], 0, randomBytes(9000)), { now: 4, budget: 5000 });
    expect(kept()).toEqual(["c5"]);
  });
});

test("what is deleted leaves no trace in the file or beside it", () => {
  aDocument("d");
  const secret = Buffer.from("a state leaks its text: tarn-planted-3141592653");
  const pages = [Buffer.concat([secret, randomBytes(PAGE_BYTES - secret.length)])];
  const ofChat = snapshot([...pages, ...pagesOf(2)], 3, randomBytes(9000));
  const ofDocument = snapshot([...pages, ...pagesOf(2)], 3, randomBytes(9000));
  save("c4", ofChat);
  save("d", ofDocument, { kind: "document", series: "whole" });
  const head = (ownerId: string): Buffer =>
    db
      .prepare<[string], { readonly zstd: Buffer }>(
        "SELECT zstd FROM snapshots JOIN snapshot_heads ON snapshot_id = id WHERE owner_id = ?",
      )
      .get(ownerId)?.zstd ?? Buffer.of();
  const pieces = (taken: { readonly bytes: Buffer }, zstd: Buffer): Buffer[] => {
    // Short pieces, as the file breaks long ones into pages of its own.
    const all = [zstd, taken.bytes.subarray(9000)];
    return all.flatMap((bytes) =>
      Array.from({ length: Math.floor(bytes.length / 64) }, (_, i) =>
        bytes.subarray(i * 64, i * 64 + 32),
      ),
    );
  };
  const traces = (wanted: readonly Buffer[]): number => {
    const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
    return wanted.filter((piece) => files.some((bytes) => bytes.includes(piece))).length;
  };
  const [chatPieces, documentPieces] = [pieces(ofChat, head("c4")), pieces(ofDocument, head("d"))];
  expect(traces(chatPieces)).toBeGreaterThan(chatPieces.length * 0.9);

  deleteChat(db, { chatId: "c", now: 9 });
  purgeDeletedChats(db, { now: 9 });
  expect(
    traces(chatPieces.filter((piece) => !documentPieces.some((one) => one.equals(piece)))),
  ).toBe(0);
  // The page is the document's too.
  expect(traces([secret])).toBe(1);
  removeDocument(db, { documentId: "d" });
  expect(traces([...documentPieces, ...chatPieces, secret])).toBe(0);
});

test("hot queries use their indexes", () => {
  const plan = (sql: string): string =>
    db
      .prepare<[], { readonly detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map((row) => row.detail)
      .join("; ");
  expect(plan("SELECT * FROM snapshots WHERE owner_kind = 'message' AND owner_id = 'x'")).toContain(
    "USING INDEX sqlite_autoindex_snapshots_1 (owner_kind=? AND owner_id=?)",
  );
  expect(plan("SELECT sum(stored_bytes) FROM snapshots")).toContain("COVERING INDEX");
  expect(plan("SELECT sum(bytes) FROM state_pages")).toContain("COVERING INDEX");
  expect(plan("SELECT 1 FROM snapshot_pages WHERE page_id = 1")).toContain(
    "COVERING INDEX snapshot_pages_by_page",
  );
});
