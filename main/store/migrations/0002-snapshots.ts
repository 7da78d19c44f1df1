import type { Migration } from "./migration.ts";

/**
 * States of any owner, in a head of their own and pages that they share.
 *
 * A snapshot's head is what a turn changes: the slots of constant size, the last logits, the rows behind the last full page.
 * Pages hold the rows of 64 tokens of what grows (models/state/snapshot.ts), by the hash of their bytes: once, however many
 * snapshots use them, and gone with the last one. Heads are compressed; pages are not, as keys and values hardly shrink.
 *
 * An owner is a row of another table, so it has no foreign key: each such table has a trigger that takes its snapshots along.
 */
export const snapshots: Migration = {
  name: "snapshots",
  apply(db) {
    db.exec(`
      CREATE TABLE snapshots (
        id              INTEGER PRIMARY KEY,
        owner_kind      TEXT NOT NULL,
        owner_id        TEXT NOT NULL,
        series          TEXT NOT NULL,
        model_hash      TEXT NOT NULL,
        tokenizer_hash  TEXT NOT NULL,
        numeric_version INTEGER NOT NULL,
        position        INTEGER NOT NULL,
        prefix_hash     TEXT NOT NULL,
        raw_bytes       INTEGER NOT NULL,
        stored_bytes    INTEGER NOT NULL,
        used_at         INTEGER NOT NULL,
        pinned          INTEGER NOT NULL DEFAULT 0,
        UNIQUE (owner_kind, owner_id, model_hash, tokenizer_hash, series, position)
      ) STRICT;
      CREATE INDEX snapshots_by_size ON snapshots(stored_bytes);

      CREATE TABLE snapshot_heads (
        snapshot_id INTEGER PRIMARY KEY REFERENCES snapshots(id) ON DELETE CASCADE,
        zstd        BLOB NOT NULL
      ) STRICT;

      CREATE TABLE state_pages (
        id    INTEGER PRIMARY KEY,
        hash  BLOB NOT NULL UNIQUE,
        bytes INTEGER NOT NULL,
        data  BLOB NOT NULL
      ) STRICT;
      CREATE INDEX state_pages_by_size ON state_pages(bytes);

      CREATE TABLE snapshot_pages (
        snapshot_id INTEGER NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE,
        ordinal     INTEGER NOT NULL,
        page_id     INTEGER NOT NULL REFERENCES state_pages(id),
        PRIMARY KEY (snapshot_id, ordinal)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX snapshot_pages_by_page ON snapshot_pages(page_id);

      CREATE TRIGGER state_pages_unused AFTER DELETE ON snapshot_pages
      WHEN NOT EXISTS (SELECT 1 FROM snapshot_pages WHERE page_id = old.page_id) BEGIN
        DELETE FROM state_pages WHERE id = old.page_id;
      END;
      CREATE TRIGGER state_pages_replaced AFTER UPDATE OF page_id ON snapshot_pages
      WHEN NOT EXISTS (SELECT 1 FROM snapshot_pages WHERE page_id = old.page_id) BEGIN
        DELETE FROM state_pages WHERE id = old.page_id;
      END;
      CREATE TRIGGER snapshots_of_messages AFTER DELETE ON messages BEGIN
        DELETE FROM snapshots WHERE owner_kind = 'message' AND owner_id = old.id;
      END;
      CREATE TRIGGER snapshots_of_documents AFTER DELETE ON documents BEGIN
        DELETE FROM snapshots WHERE owner_kind = 'document' AND owner_id = old.id;
      END;

      -- The first format of states is read for ever: all of them were computed by version 1 of the arithmetic, and have no pages.
      INSERT INTO snapshots (id, owner_kind, owner_id, series, model_hash, tokenizer_hash, numeric_version, position, prefix_hash,
                             raw_bytes, stored_bytes, used_at)
        SELECT rowid, 'message', message_id, '', model_hash, tokenizer_hash, 1, position, prefix_hash, raw_bytes, stored_bytes, used_at
        FROM states;
      INSERT INTO snapshot_heads (snapshot_id, zstd) SELECT rowid, zstd FROM states;
      DROP TABLE states;
    `);
  },
};
