import type { Migration } from "./migration.ts";

/**
 * What lists need without going through what they do not show: chats in their order, and of a document the facts apart from its
 * text, behind which SQLite would have to read all of it to find the columns that follow.
 */
export const listing: Migration = {
  name: "listing",
  apply(db) {
    db.exec(`
      CREATE INDEX chats_by_use ON chats(pinned DESC, updated_at DESC, id) WHERE deleted_at IS NULL AND tip_id IS NOT NULL;
      CREATE INDEX chats_by_base ON chats(base_id) WHERE base_id IS NOT NULL;
      CREATE INDEX chats_by_tip ON chats(tip_id) WHERE tip_id IS NOT NULL;
      CREATE INDEX documents_listed ON documents(
        created_at DESC, id, name, media_type, bytes, sha256, length(text), pages, page_unit, notice
      );
    `);
  },
};
