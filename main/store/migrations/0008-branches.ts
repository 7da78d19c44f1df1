import type { Migration } from "./migration.ts";

/**
 * Branches that were deleted from a chat, by the message that they begin with: that message and all behind it are not shown in this
 * chat, and go when the program ends (`purgeBranches`). Other chats that stand on them are not touched.
 */
export const branches: Migration = {
  name: "branches",
  apply(db) {
    db.exec(`
      CREATE TABLE deleted_branches (
        chat_id    TEXT NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
        message_id TEXT NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
        PRIMARY KEY (chat_id, message_id)
      ) STRICT, WITHOUT ROWID;
      CREATE INDEX deleted_branches_by_message ON deleted_branches(message_id);
      CREATE INDEX snapshots_pinned ON snapshots(pinned) WHERE pinned <> 0;
    `);
  },
};
