import BetterSqlite3 from "better-sqlite3";
import { expect, test } from "vitest";
import { chatsAndDocuments } from "./0001-chats-and-documents.ts";
import { snapshots } from "./0002-snapshots.ts";
import { readings } from "./0003-readings.ts";
import { grounds } from "./0004-grounds.ts";

test("messages from before have no grounds", () => {
  const db = new BetterSqlite3(":memory:");
  for (const migration of [chatsAndDocuments, snapshots, readings]) migration.apply(db);
  db.exec(`
    INSERT INTO chats (id, title, created_at, updated_at) VALUES ('c', '', 1, 1);
    INSERT INTO messages (id, chat_id, role, text, status, created_at) VALUES ('m', 'c', 'assistant', 'hello', 'done', 1);
  `);
  grounds.apply(db);
  expect(db.prepare("SELECT text, grounds FROM messages").all()).toEqual([
    { text: "hello", grounds: null },
  ]);
});
