import type { Migration } from "./migration.ts";

/**
 * Documents as they are read by models: their token ids, and how far each reading has come. The states themselves are snapshots
 * (0002) that the document owns: series "whole/<lead>" for the checkpoints of reading it from its beginning, "chunk/<lead>/<n>" for
 * the state behind each of its chunks. A lead is what stands before the document: the hash of the system prompt.
 */
export const readings: Migration = {
  name: "readings",
  apply(db) {
    db.exec(`
      ALTER TABLE documents ADD COLUMN page_unit TEXT;
      ALTER TABLE documents ADD COLUMN notice TEXT;
      UPDATE documents SET page_unit = 'page' WHERE pages IS NOT NULL;

      -- The document was read up to here and no further: a UTF-16 offset of its text.
      ALTER TABLE message_documents ADD COLUMN until INTEGER;

      -- marks: [[tokens, offset], …]: so many ids hold exactly the text up to this UTF-16 offset.
      CREATE TABLE document_ids (
        document_id    TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
        tokenizer_hash TEXT NOT NULL,
        lead           TEXT NOT NULL,
        ids            BLOB NOT NULL,
        marks          TEXT NOT NULL,
        PRIMARY KEY (document_id, tokenizer_hash, lead)
      ) STRICT;

      CREATE TABLE document_chunks (
        document_id    TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
        tokenizer_hash TEXT NOT NULL,
        lead           TEXT NOT NULL,
        ordinal        INTEGER NOT NULL,
        page           INTEGER,
        start          INTEGER NOT NULL,
        "end"          INTEGER NOT NULL,
        ids            BLOB NOT NULL,
        PRIMARY KEY (document_id, tokenizer_hash, lead, ordinal)
      ) STRICT;

      CREATE TABLE readings (
        document_id    TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
        model_hash     TEXT NOT NULL,
        tokenizer_hash TEXT NOT NULL,
        lead           TEXT NOT NULL,
        status         TEXT NOT NULL CHECK (status IN ('waiting', 'reading', 'paused', 'interrupted', 'read', 'failed')),
        done           INTEGER NOT NULL,
        total          INTEGER NOT NULL,
        ms             REAL NOT NULL,
        error          TEXT,
        queued_at      INTEGER NOT NULL,
        PRIMARY KEY (document_id, model_hash, tokenizer_hash, lead)
      ) STRICT;

      CREATE INDEX message_documents_by_document ON message_documents(document_id);
    `);
  },
};
