import BetterSqlite3 from "better-sqlite3";
import { expect, test } from "vitest";
import { chatsAndDocuments } from "./0001-chats-and-documents.ts";
import { snapshots } from "./0002-snapshots.ts";
import { readings } from "./0003-readings.ts";
import { grounds } from "./0004-grounds.ts";
import { listing } from "./0005-listing.ts";
import { provenance } from "./0006-provenance.ts";
import { personas } from "./0007-personas.ts";

test("states and messages from before are kept, without what was not known of them; records go with their owners", () => {
  const db = new BetterSqlite3(":memory:");
  db.pragma("foreign_keys = ON");
  for (const migration of [chatsAndDocuments, snapshots, readings, grounds, listing])
    migration.apply(db);
  db.exec(`
    INSERT INTO chats (id, title, created_at, updated_at) VALUES ('c', '', 1, 1);
    INSERT INTO messages (id, chat_id, role, text, status, created_at) VALUES ('m', 'c', 'assistant', 'hello', 'done', 1);
    INSERT INTO snapshots (id, owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash,
                           raw_bytes, stored_bytes, used_at)
      VALUES (1, 'message', 'm', '', 'model', 't', 1, 7, 'p', 1, 1, 1);
  `);
  for (const migration of [provenance, personas]) migration.apply(db);
  expect(db.prepare("SELECT state_hash FROM snapshots").all()).toEqual([{ state_hash: null }]);
  expect(db.prepare("SELECT text, persona FROM messages").all()).toEqual([
    { text: "hello", persona: null },
  ]);
  db.exec(`
    INSERT INTO personas VALUES ('p', 'Poet', 'Rhyme.', '[]', NULL, 1, 1);
    INSERT INTO snapshots (owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash,
                           raw_bytes, stored_bytes, used_at)
      VALUES ('persona', 'p', '', 'model', 't', 1, 7, 'p', 1, 1, 1);
    INSERT INTO provenance VALUES ('m', '{}');
    INSERT INTO derivations VALUES ('message', 'm', 'a', NULL, 0, 7, '[]', 'd'), ('persona', 'p', 'b', NULL, 0, 7, '[]', 'd');
    DELETE FROM personas;
  `);
  expect(db.prepare("SELECT owner_kind FROM snapshots").all()).toEqual([{ owner_kind: "message" }]);
  expect(db.prepare("SELECT owner_id FROM derivations").all()).toEqual([{ owner_id: "m" }]);
  db.exec("DELETE FROM chats");
  for (const table of ["provenance", "derivations", "snapshots"])
    expect(db.prepare(`SELECT * FROM ${table}`).all()).toEqual([]);
});
