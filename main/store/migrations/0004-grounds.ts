import type { Migration } from "./migration.ts";

/** How an answer about documents came about, as JSON; see `groundsSchema` in the contract. The sentences that it stands on are its passages. */
export const grounds: Migration = {
  name: "grounds",
  apply(db) {
    db.exec("ALTER TABLE messages ADD COLUMN grounds TEXT");
  },
};
