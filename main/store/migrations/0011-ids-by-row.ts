import type { Migration } from "./migration.ts";

/**
 * Token ids in rows of their own, found by an index of keys. In a table without row ids they were part of the key's tree, whose search
 * compares whole entries: with messages of 100,000 tokens in it (each chat that begins with such a document has one), finding the ids of
 * 600 messages read 280 MB.
 */
export const idsByRow: Migration = {
  name: "ids-by-row",
  apply(db) {
    db.exec(`
      CREATE TABLE message_ids_by_row (
        message_id     TEXT NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
        tokenizer_hash TEXT NOT NULL,
        ids            BLOB NOT NULL,
        PRIMARY KEY (message_id, tokenizer_hash)
      ) STRICT;
      INSERT INTO message_ids_by_row (message_id, tokenizer_hash, ids) SELECT message_id, tokenizer_hash, ids FROM message_ids;
      DROP TABLE message_ids;
      ALTER TABLE message_ids_by_row RENAME TO message_ids;
    `);
  },
};
