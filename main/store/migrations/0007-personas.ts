import type { Migration } from "./migration.ts";

/**
 * Personas: a system prompt with examples, whose state is kept (snapshots and derivations of owner kind "persona").
 * A chat that begins with one keeps a copy of it in its first message: the prompt is the message's text, `messages.persona` the rest as JSON.
 */
export const personas: Migration = {
  name: "personas",
  apply(db) {
    db.exec(`
      CREATE TABLE personas (
        id          TEXT PRIMARY KEY,
        name        TEXT NOT NULL,
        prompt      TEXT NOT NULL,
        examples    TEXT NOT NULL,
        temperature REAL,
        created_at  INTEGER NOT NULL,
        updated_at  INTEGER NOT NULL
      ) STRICT;
      ALTER TABLE messages ADD COLUMN persona TEXT;
      CREATE TRIGGER snapshots_of_personas AFTER DELETE ON personas BEGIN
        DELETE FROM snapshots WHERE owner_kind = 'persona' AND owner_id = old.id;
      END;
      CREATE TRIGGER derivations_of_personas AFTER DELETE ON personas BEGIN
        DELETE FROM derivations WHERE owner_kind = 'persona' AND owner_id = old.id;
      END;
    `);
  },
};
