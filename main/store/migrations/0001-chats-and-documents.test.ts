import BetterSqlite3 from "better-sqlite3";
import { expect, test } from "vitest";
import { chatsAndDocuments } from "./0001-chats-and-documents.ts";

function migrated() {
  const db = new BetterSqlite3(":memory:");
  db.pragma("foreign_keys = ON");
  chatsAndDocuments.apply(db);
  return db;
}

test("every table of rows is STRICT", () => {
  const tables = migrated()
    .prepare<[], { readonly name: string }>(
      "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND strict = 0 AND name NOT LIKE 'sqlite_%'",
    )
    .all();
  expect(tables).toEqual([]);
});

test("the children of a message and the messages of a chat are found by index", () => {
  const db = migrated();
  const plan = (sql: string): string =>
    db
      .prepare<[], { readonly detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map((row) => row.detail)
      .join("; ");
  expect(plan("SELECT * FROM messages WHERE parent_id = 'x'")).toContain("messages_by_parent");
  expect(plan("SELECT * FROM messages WHERE chat_id = 'x'")).toContain("messages_by_chat");
});

test("removing a document takes its passages out of the index", () => {
  const db = migrated();
  db.exec(`
    INSERT INTO documents (id, name, media_type, bytes, sha256, text, created_at) VALUES ('d', 'a.txt', 'text/plain', 1, 'h', 'kettle', 1);
    INSERT INTO passages (document_id, ordinal, start, "end", text) VALUES ('d', 0, 0, 6, 'The kettles boil');
  `);
  const hits = db.prepare("SELECT rowid FROM passages_fts WHERE passages_fts MATCH 'kettle'");
  expect(hits.all()).toHaveLength(1);
  db.exec("DELETE FROM documents");
  expect(hits.all()).toHaveLength(0);
  db.exec("INSERT INTO passages_fts(passages_fts) VALUES ('integrity-check')");
});
