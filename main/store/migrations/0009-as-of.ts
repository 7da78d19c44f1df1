import type { Migration } from "./migration.ts";

/** How far a message's document was to be looked at, as it was chosen: what is shown beside the question and its answers. */
export const asOf: Migration = {
  name: "as-of",
  apply(db) {
    db.exec("ALTER TABLE message_documents ADD COLUMN as_of TEXT");
  },
};
