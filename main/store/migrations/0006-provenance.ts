import type { Migration } from "./migration.ts";

/**
 * How answers came about, and how the states behind them were computed.
 *
 * provenance: one record an answer, as JSON; see `provenanceSchema` in the contract.
 * derivations: what was done from one state to the next, by the checksums of both. They outlive the state that they lead to, so that
 * one which was evicted can be computed again in the same way; they go with its owner.
 */
export const provenance: Migration = {
  name: "provenance",
  apply(db) {
    db.exec(`
      CREATE TABLE provenance (
        message_id TEXT PRIMARY KEY REFERENCES messages(id) ON DELETE CASCADE,
        record     TEXT NOT NULL
      ) STRICT;
      CREATE TABLE derivations (
        owner_kind TEXT NOT NULL,
        owner_id   TEXT NOT NULL,
        state_hash TEXT NOT NULL,
        base_hash  TEXT,
        base       INTEGER NOT NULL,
        position   INTEGER NOT NULL,
        steps      TEXT NOT NULL,
        device     TEXT NOT NULL,
        PRIMARY KEY (owner_kind, owner_id, state_hash)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX derivations_by_state ON derivations(state_hash);
      -- Null of states from before: how they were computed is not known.
      ALTER TABLE snapshots ADD COLUMN state_hash TEXT;
      CREATE INDEX snapshots_by_hash ON snapshots(state_hash) WHERE state_hash IS NOT NULL;
      CREATE TRIGGER derivations_of_messages AFTER DELETE ON messages BEGIN
        DELETE FROM derivations WHERE owner_kind = 'message' AND owner_id = old.id;
      END;
      CREATE TRIGGER derivations_of_documents AFTER DELETE ON documents BEGIN
        DELETE FROM derivations WHERE owner_kind = 'document' AND owner_id = old.id;
      END;
    `);
  },
};
