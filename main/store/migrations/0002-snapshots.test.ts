import BetterSqlite3 from "better-sqlite3";
import { expect, test } from "vitest";
import { chatsAndDocuments } from "./0001-chats-and-documents.ts";
import { snapshots } from "./0002-snapshots.ts";

function ofVersionOne() {
  const db = new BetterSqlite3(":memory:");
  db.pragma("foreign_keys = ON");
  chatsAndDocuments.apply(db);
  db.exec(`
    INSERT INTO chats (id, title, created_at, updated_at) VALUES ('c', '', 1, 1);
    INSERT INTO messages (id, chat_id, role, text, status, created_at) VALUES ('m', 'c', 'user', 'hello', 'done', 1);
    INSERT INTO states VALUES ('m', 'model', 'tokenizer', 7, 'prefix', 100, 3, 9, x'010203'), ('m', 'other', 'tokenizer', 7, 'prefix', 100, 1, 8, x'04');
  `);
  return db;
}

const count = (db: BetterSqlite3.Database, table: string): number =>
  db.prepare<[], { readonly n: number }>(`SELECT count(*) AS n FROM ${table}`).get()?.n ?? -1;

test("states of the first version are kept with all that is known of them", () => {
  const db = ofVersionOne();
  snapshots.apply(db);
  const rows = db
    .prepare(
      `SELECT owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash, raw_bytes, stored_bytes,
         used_at, pinned, hex(zstd) AS head FROM snapshots JOIN snapshot_heads ON snapshot_id = id ORDER BY model_hash`,
    )
    .all();
  expect(rows).toMatchObject([
    {
      owner_kind: "message",
      owner_id: "m",
      series: "",
      model_hash: "model",
      tokenizer_hash: "tokenizer",
      numeric_version: 1,
      position: 7,
      prefix_hash: "prefix",
      raw_bytes: 100,
      stored_bytes: 3,
      used_at: 9,
      pinned: 0,
      head: "010203",
    },
    { owner_id: "m", model_hash: "other", head: "04" },
  ]);
  expect(db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'states'").all()).toEqual([]);
});

test("a page is gone with its last user, a snapshot with its message or document", () => {
  const db = ofVersionOne();
  snapshots.apply(db);
  db.exec(`
    DELETE FROM snapshots;
    INSERT INTO documents (id, name, media_type, bytes, sha256, text, created_at) VALUES ('d', 'a.txt', 'text/plain', 1, 'h', '', 1);
    INSERT INTO snapshots (id, owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash, raw_bytes, stored_bytes, used_at)
      VALUES (1, 'message', 'm', '', 'm', 't', 1, 64, 'p', 1, 1, 1), (2, 'document', 'd', '', 'm', 't', 1, 128, 'p', 1, 1, 1);
    INSERT INTO snapshot_heads VALUES (1, x'00'), (2, x'00');
    INSERT INTO state_pages VALUES (10, x'aa', 1, x'01'), (11, x'bb', 1, x'02');
    INSERT INTO snapshot_pages VALUES (1, 0, 10), (2, 0, 10), (2, 1, 11);
  `);
  db.exec("DELETE FROM documents");
  expect([count(db, "snapshots"), count(db, "snapshot_heads")]).toEqual([1, 1]);
  expect(db.prepare("SELECT id FROM state_pages").all()).toEqual([{ id: 10 }]);
  db.exec("DELETE FROM chats");
  for (const table of ["snapshots", "snapshot_heads", "snapshot_pages", "state_pages"])
    expect(count(db, table)).toBe(0);
});
