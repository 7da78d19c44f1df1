import type { Database } from "better-sqlite3";

/** One step of the schema. Its place in the list is the `user_version` that it leads to, from 1. */
export interface Migration {
  readonly name: string;
  /** Runs inside a transaction, on a database of the version before. */
  apply(db: Database): void;
}
