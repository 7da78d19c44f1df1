import type { Migration } from "./migration.ts";

/**
 * Chats that are read again, or wait for it, so that the next start knows of them. A row owns the state of the place that its reading
 * has reached, amid a message (snapshots and derivations of owner kind "rebuild"), and goes with that message, whose words are in it.
 */
export const rebuilds: Migration = {
  name: "rebuilds",
  apply(db) {
    db.exec(`
      CREATE TABLE rebuilds (
        id             TEXT PRIMARY KEY,
        chat_id        TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        -- Null until a state of it is kept.
        message_id     TEXT REFERENCES messages(id) ON DELETE CASCADE,
        model_hash     TEXT NOT NULL,
        tokenizer_hash TEXT NOT NULL,
        rank           TEXT NOT NULL,
        status         TEXT NOT NULL,
        done           INTEGER NOT NULL,
        total          INTEGER NOT NULL,
        added_at       INTEGER NOT NULL,
        UNIQUE (chat_id, model_hash, tokenizer_hash)
      ) STRICT;
      CREATE INDEX rebuilds_by_message ON rebuilds(message_id);
      CREATE TRIGGER snapshots_of_rebuilds AFTER DELETE ON rebuilds BEGIN
        DELETE FROM snapshots WHERE owner_kind = 'rebuild' AND owner_id = old.id;
      END;
      CREATE TRIGGER derivations_of_rebuilds AFTER DELETE ON rebuilds BEGIN
        DELETE FROM derivations WHERE owner_kind = 'rebuild' AND owner_id = old.id;
      END;
    `);
  },
};
