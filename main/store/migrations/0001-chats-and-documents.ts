import type { Migration } from "./migration.ts";

/**
 * Chats, a forest of messages, states, documents with their passages, settings.
 *
 * A message belongs to the chat that wrote it. A fork is one row: a chat whose `base_id` is another chat's message, from
 * where the path goes on upwards. Token ids are kept for each tokenizer that read a message; they are the truth, text is
 * what they looked like.
 */
export const chatsAndDocuments: Migration = {
  name: "chats-and-documents",
  apply(db) {
    db.exec(`
      CREATE TABLE chats (
        id         TEXT PRIMARY KEY,
        title      TEXT NOT NULL,
        pinned     INTEGER NOT NULL DEFAULT 0,
        base_id    TEXT REFERENCES messages(id),
        tip_id     TEXT REFERENCES messages(id) ON DELETE SET NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        deleted_at INTEGER
      ) STRICT;

      CREATE TABLE messages (
        id                TEXT PRIMARY KEY,
        chat_id           TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        parent_id         TEXT REFERENCES messages(id) ON DELETE CASCADE,
        role              TEXT NOT NULL CHECK (role IN ('system', 'document', 'user', 'assistant')),
        text              TEXT NOT NULL,
        status            TEXT NOT NULL,
        error_code        TEXT,
        error_message     TEXT,
        passages          TEXT NOT NULL DEFAULT '[]',
        tokens            INTEGER NOT NULL DEFAULT 0,
        prefilled         INTEGER,
        tokens_per_second REAL,
        temperature       REAL,
        seed              INTEGER,
        created_at        INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX messages_by_chat ON messages(chat_id);
      CREATE INDEX messages_by_parent ON messages(parent_id);

      CREATE TABLE message_ids (
        message_id     TEXT NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
        tokenizer_hash TEXT NOT NULL,
        ids            BLOB NOT NULL,
        PRIMARY KEY (message_id, tokenizer_hash)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE states (
        message_id     TEXT NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
        model_hash     TEXT NOT NULL,
        tokenizer_hash TEXT NOT NULL,
        position       INTEGER NOT NULL,
        prefix_hash    TEXT NOT NULL,
        raw_bytes      INTEGER NOT NULL,
        stored_bytes   INTEGER NOT NULL,
        used_at        INTEGER NOT NULL,
        zstd           BLOB NOT NULL,
        PRIMARY KEY (message_id, model_hash)
      ) STRICT;

      CREATE TABLE documents (
        id         TEXT PRIMARY KEY,
        name       TEXT NOT NULL,
        media_type TEXT NOT NULL,
        bytes      INTEGER NOT NULL,
        sha256     TEXT NOT NULL UNIQUE,
        text       TEXT NOT NULL,
        pages      TEXT,
        created_at INTEGER NOT NULL
      ) STRICT;

      CREATE TABLE document_files (
        document_id TEXT PRIMARY KEY REFERENCES documents(id) ON DELETE CASCADE,
        content     BLOB NOT NULL
      ) STRICT;

      -- Without a reference to documents: a message keeps the name of a document that was removed.
      CREATE TABLE message_documents (
        message_id  TEXT NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
        ordinal     INTEGER NOT NULL,
        document_id TEXT NOT NULL,
        name        TEXT NOT NULL,
        PRIMARY KEY (message_id, ordinal)
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE passages (
        id          INTEGER PRIMARY KEY,
        document_id TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
        ordinal     INTEGER NOT NULL,
        page        INTEGER,
        start       INTEGER NOT NULL,
        "end"       INTEGER NOT NULL,
        text        TEXT NOT NULL,
        UNIQUE (document_id, ordinal)
      ) STRICT;

      CREATE VIRTUAL TABLE passages_fts USING fts5(
        text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61 remove_diacritics 2'
      );
      INSERT INTO passages_fts(passages_fts, rank) VALUES ('secure-delete', 1);
      CREATE TRIGGER passages_inserted AFTER INSERT ON passages BEGIN
        INSERT INTO passages_fts(rowid, text) VALUES (new.id, new.text);
      END;
      CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
        INSERT INTO passages_fts(passages_fts, rowid, text) VALUES ('delete', old.id, old.text);
      END;

      CREATE TABLE settings (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
      ) STRICT;
    `);
  },
};
