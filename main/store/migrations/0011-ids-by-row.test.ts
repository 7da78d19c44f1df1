import BetterSqlite3 from "better-sqlite3";
import { expect, test } from "vitest";
import { migrate, migrations } from "../database.ts";

test("the ids of messages are kept, and go with their message", () => {
  const db = new BetterSqlite3(":memory:");
  db.pragma("foreign_keys = ON");
  migrate(db, migrations.slice(0, 10), null);
  db.exec(`
    INSERT INTO chats (id, title, created_at, updated_at) VALUES ('c', '', 1, 1);
    INSERT INTO messages (id, chat_id, role, text, status, created_at) VALUES ('m', 'c', 'user', 'a', 'done', 1), ('n', 'c', 'user', 'b', 'done', 2);
    INSERT INTO message_ids VALUES ('m', 't', x'01000000'), ('n', 't', x'02000000'), ('n', 'u', x'03000000');
  `);
  const before = db.prepare("SELECT * FROM message_ids ORDER BY ids").all();
  migrate(db, migrations, null);
  expect(db.prepare("SELECT * FROM message_ids ORDER BY ids").all()).toEqual(before);
  db.exec("DELETE FROM messages WHERE id = 'n'");
  expect(db.prepare("SELECT message_id FROM message_ids").all()).toEqual([{ message_id: "m" }]);
});

test("no tree of keys has what may be long in it: its search reads whole entries", () => {
  const db = new BetterSqlite3(":memory:");
  migrate(db, migrations, null);
  const keyed = db
    .prepare<[], { readonly sql: string }>(
      "SELECT sql FROM sqlite_master WHERE type = 'table' AND sql LIKE '%WITHOUT ROWID%'",
    )
    .all();
  expect(keyed.length).toBeGreaterThan(0);
  expect(keyed.filter(({ sql }) => /\bBLOB\b/.test(sql))).toEqual([]);
});
