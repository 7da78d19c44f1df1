/** Opening the one database file: pragmas, exclusive lock, migrations with a backup, errors as sentences. */
import BetterSqlite3, { type Database } from "better-sqlite3";
import { closeSync, existsSync, openSync } from "node:fs";
import { TarnError } from "../contract/errors.ts";
import { backUp, removeBackups } from "./backup.ts";
import { chatsAndDocuments } from "./migrations/0001-chats-and-documents.ts";
import { snapshots } from "./migrations/0002-snapshots.ts";
import { readings } from "./migrations/0003-readings.ts";
import { grounds } from "./migrations/0004-grounds.ts";
import { listing } from "./migrations/0005-listing.ts";
import { provenance } from "./migrations/0006-provenance.ts";
import { personas } from "./migrations/0007-personas.ts";
import { branches } from "./migrations/0008-branches.ts";
import { asOf } from "./migrations/0009-as-of.ts";
import { rebuilds } from "./migrations/0010-rebuilds.ts";
import { idsByRow } from "./migrations/0011-ids-by-row.ts";
import type { Migration } from "./migrations/migration.ts";

/** In order; append only. */
export const migrations: readonly Migration[] = [
  chatsAndDocuments,
  snapshots,
  readings,
  grounds,
  listing,
  provenance,
  personas,
  branches,
  asOf,
  rebuilds,
  idsByRow,
];

/** Where the database is, and how large it may become. */
export interface StoreOptions {
  readonly file: string;
  /** Pages (4096 bytes) that the file may grow to; null is SQLite's own limit. Tests use it as a full disk. */
  readonly maxPages: number | null;
}

/**
 * Opens the database for this process alone and brings its schema up to date.
 * @throws TarnError `busy` when another program has it open, `store` when it is newer or damaged, `disk-full`
 */
export function openDatabase(
  options: StoreOptions,
  steps: readonly Migration[] = migrations,
): Database {
  const existed = existsSync(options.file);
  try {
    // For this user alone; SQLite gives the files beside it the same mode.
    if (!existed) closeSync(openSync(options.file, "a", 0o600));
    const db = new BetterSqlite3(options.file, { timeout: 500 });
    try {
      // The operating system drops this lock with the process, whatever ended it: no lock file can become stale.
      db.pragma("locking_mode = EXCLUSIVE");
      db.pragma("journal_mode = WAL");
      db.pragma("synchronous = FULL");
      db.pragma("foreign_keys = ON");
      db.pragma("secure_delete = ON");
      db.exec("BEGIN IMMEDIATE; COMMIT");
      migrate(db, steps, existed ? options.file : null);
      if (options.maxPages !== null) db.pragma(`max_page_count = ${options.maxPages}`);
      return db;
    } catch (cause) {
      db.close();
      throw cause;
    }
  } catch (cause) {
    throw toStoreError(cause, options.file);
  }
}

/** @param file where an existing database lies, so that it is copied first; null for a new one */
export function migrate(db: Database, steps: readonly Migration[], file: string | null): void {
  const version = Number(db.pragma("user_version", { simple: true }));
  if (version > steps.length) {
    throw new TarnError(
      "store",
      `These chats were written by a newer version of Tarn (database version ${version}, this program knows ${steps.length}). ` +
        "Nothing was changed. Install the newer version to open them.",
      { reason: "newer", version, known: steps.length },
    );
  }
  if (version === steps.length) return;
  const backup = file === null || version === 0 ? null : `${file}.before-${steps.length}.backup`;
  if (backup !== null) backUp(db, backup);
  // All or nothing: what a step leaves that fails is the database as it was, never one between two versions.
  db.transaction(() => {
    for (const step of steps.slice(version)) step.apply(db);
    db.pragma(`user_version = ${steps.length}`);
  })();
  // Those of earlier versions hold what was said up to then, and nothing that this one has not.
  if (backup !== null) removeBackups(db, backup);
}

/**
 * After a deletion: nothing of it stays beside the database. The write-ahead log is folded in and emptied, and copies that were made
 * before a migration go. Not inside a transaction.
 */
export function forgetCopies(db: Database): void {
  db.pragma("wal_checkpoint(TRUNCATE)");
  removeBackups(db, null);
}

/** SQLite's errors as sentences for the user; everything else unchanged in meaning, as `store`. */
export function toStoreError(cause: unknown, file: string): TarnError {
  if (cause instanceof TarnError) return cause;
  const code = codeOf(cause);
  if (code === "SQLITE_FULL" || code === "ENOSPC") {
    return new TarnError(
      "disk-full",
      "The disk is full. Nothing was lost. What was already saved stays as it was; free some space and try again.",
      { file },
      cause,
    );
  }
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return new TarnError(
      "busy",
      `Another Tarn is using this data folder (${file}). Nothing was changed. Close it first, or start with --data and another folder.`,
      { file },
      cause,
    );
  }
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") {
    return new TarnError(
      "store",
      `The file of chats is damaged (${file}). Nothing was changed. Restore it from a backup, or move it away to begin with an empty one.`,
      { reason: "damaged", file },
      cause,
    );
  }
  const message = cause instanceof Error ? cause.message : String(cause);
  return new TarnError(
    "store",
    `The chats could not be read or written (${message}). What was saved before is kept.`,
    { file, code },
    cause,
  );
}

function codeOf(cause: unknown): string {
  if (
    typeof cause === "object" &&
    cause !== null &&
    "code" in cause &&
    typeof cause.code === "string"
  )
    return cause.code;
  return "";
}
