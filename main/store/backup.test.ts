import BetterSqlite3, { type Database } from "better-sqlite3";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { backUp } from "./backup.ts";
import { migrations, openDatabase } from "./database.ts";
import type { Migration } from "./migrations/migration.ts";

let folder: string;
let file: string;
const copy = (version: number): string => `${file}.before-${version}.backup`;
const next = (): string => copy(migrations.length + 1);
const more: Migration = {
  name: "more",
  apply: (db) => void db.exec("CREATE TABLE more (id INTEGER) STRICT"),
};
const more2: Migration = {
  name: "more-2",
  apply: (db) => void db.exec("CREATE TABLE more2 (id INTEGER) STRICT"),
};
const broken: Migration = { name: "broken", apply: (db) => void db.exec("SELECT nothing") };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tarn-backup-"));
  file = join(folder, "tarn.sqlite");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function open(steps: readonly Migration[] = migrations): Database {
  return openDatabase({ file, maxPages: null }, steps);
}

/** A chat whose state can be computed again, one whose words are elsewhere, and a document. */
function fill(db: Database): void {
  db.exec(`
    INSERT INTO chats (id, title, created_at, updated_at) VALUES ('open', 'Open', 1, 1), ('sealed', 'Sealed', 1, 1);
    INSERT INTO messages (id, chat_id, role, text, status, created_at) VALUES
      ('words', 'open', 'user', 'A word that is here.', 'done', 1), ('no-words', 'sealed', 'system', '', 'done', 1);
    UPDATE chats SET tip_id = 'words' WHERE id = 'open';
    INSERT INTO message_ids (message_id, tokenizer_hash, ids) VALUES ('words', 't', x'01000000');
    INSERT INTO snapshots (id, owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash,
      raw_bytes, stored_bytes, used_at) VALUES
      (1, 'message', 'words', '', 'm', 't', 1, 1, 'p', 8000000, 8000000, 1), (2, 'message', 'no-words', '', 'm', 't', 1, 1, 'p', 4, 4, 1);
    INSERT INTO snapshot_heads (snapshot_id, zstd) VALUES (1, randomblob(8000000)), (2, x'0a0b0c0d');
    INSERT INTO state_pages (id, hash, bytes, data) VALUES (1, x'01', 8000000, randomblob(8000000)), (2, x'02', 2, x'0e0f');
    INSERT INTO snapshot_pages (snapshot_id, ordinal, page_id) VALUES (1, 0, 1), (2, 0, 2), (1, 1, 2);
    INSERT INTO documents (id, name, media_type, bytes, sha256, text, created_at) VALUES ('d', 'a.txt', '', 1, 'h', 'whales dive', 1);
    INSERT INTO passages (document_id, ordinal, start, "end", text) VALUES ('d', 0, 0, 11, 'whales dive');
  `);
}

const schemaOf = (db: Database): unknown[] =>
  db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all();
const tablesOf = (db: Database): string[] =>
  db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .pluck()
    .all()
    .map(String);
const rowsOf = (db: Database, table: string): unknown[] =>
  db.prepare(`SELECT * FROM "${table}"`).all();

test("the copy is the database without what can be computed again", () => {
  const db = open();
  fill(db);
  backUp(db, next());
  expect(db.pragma("foreign_keys", { simple: true })).toBe(1);
  expect(() => db.exec("DELETE FROM passages_fts_data")).toThrow(/may not be modified/);
  const made = new BetterSqlite3(next());
  expect(schemaOf(made)).toEqual(schemaOf(db));
  expect(made.pragma("user_version", { simple: true })).toBe(migrations.length);
  for (const table of tablesOf(db)) {
    const isState = /^(?:snapshots|snapshot_|state_)/.test(table);
    if (!isState) expect(rowsOf(made, table), table).toEqual(rowsOf(db, table));
  }
  // Of states only the one that nothing could make again, with the page that it shares.
  expect(made.prepare("SELECT id FROM snapshots").pluck().all()).toEqual([2]);
  expect(rowsOf(made, "snapshot_heads")).toEqual([
    { snapshot_id: 2, zstd: Buffer.from([10, 11, 12, 13]) },
  ]);
  expect(made.prepare("SELECT data FROM state_pages").pluck().all()).toEqual([
    Buffer.from([14, 15]),
  ]);
  expect(made.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(made.pragma("foreign_key_check")).toEqual([]);
  expect(made.prepare("SELECT rowid FROM passages_fts('whale')").pluck().all()).toEqual([1]);
  made.close();
  db.close();
  expect(readFileSync(next()).byteLength).toBeLessThan(1e6);
});

test("the copy opens in place of the database, and its documents are deleted from their index as ever", () => {
  const db = open();
  fill(db);
  backUp(db, next());
  db.close();
  rmSync(file);
  writeFileSync(file, readFileSync(next()));
  const restored = open();
  restored.exec("DELETE FROM documents");
  expect(rowsOf(restored, "chats")).toHaveLength(2);
  restored.pragma("wal_checkpoint(TRUNCATE)");
  restored.close();
  expect(readFileSync(file).includes("whale")).toBe(false);
});

test.each(migrations.map((_, index) => index + 1))(
  "a database of version %d is copied",
  (version) => {
    const db = open(migrations.slice(0, version));
    backUp(db, copy(version));
    const made = new BetterSqlite3(copy(version));
    expect(schemaOf(made)).toEqual(schemaOf(db));
    made.close();
    db.close();
  },
);

test("what a power cut left of a copy is no copy; older ones go when the newest is there and the database is of its version", () => {
  const db = open();
  fill(db);
  db.close();
  for (const left of [`${next()}.partial`, copy(3), join(folder, "tarn.sqlite.before-my-eyes")])
    writeFileSync(left, "half");
  open([...migrations, more]).close();
  expect(readdirSync(folder).toSorted()).toEqual([
    "tarn.sqlite",
    `tarn.sqlite.before-${migrations.length + 1}.backup`,
    "tarn.sqlite.before-my-eyes",
  ]);
});

test("where a later step fails an earlier one is taken back, and the next attempt copies what was said meanwhile", () => {
  open().close();
  expect(() => open([...migrations, more, broken])).toThrow(/could not be read or written/);
  const db = open();
  expect(tablesOf(db)).not.toContain("more");
  fill(db);
  db.close();
  open([...migrations, more, more2]).close();
  const made = new BetterSqlite3(copy(migrations.length + 2), { readonly: true });
  expect(rowsOf(made, "chats")).toHaveLength(2);
  made.close();
});

test("where it cannot be written there is no copy, not half of one, and nothing was changed", () => {
  const db = open();
  fill(db);
  const folderIsGone = join(folder, "not-there", "copy");
  expect(() => backUp(db, folderIsGone)).toThrow(/ENOENT/);
  mkdirSync(next());
  expect(() => backUp(db, next())).toThrow(/rename/);
  expect(existsSync(`${next()}.partial`)).toBe(false);
  expect(rowsOf(db, "chats")).toHaveLength(2);
  expect(db.pragma("foreign_keys", { simple: true })).toBe(1);
  db.close();
});
