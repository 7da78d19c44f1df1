/**
 * The copy of a database that is made before its schema changes (decision 0033): all that cannot be computed again. States can, from
 * the token ids that are in it, and are nearly all of a file's bytes.
 */
import BetterSqlite3, { type Database } from "better-sqlite3";
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** Of a state whose words are not here, that of a file without them: it cannot be computed again. */
const SEALED = `SELECT s.id FROM main.snapshots s JOIN main.messages m ON m.id = s.owner_id
  WHERE s.owner_kind = 'message' AND m.role = 'system' AND m.text = ''`;

/** Rows that are copied of the tables that hold states, in whichever version of the schema; of all other tables every row is. */
const COPIED: Readonly<Record<string, string>> = {
  states: "WHERE false",
  snapshots: `WHERE id IN (${SEALED})`,
  snapshot_heads: `WHERE snapshot_id IN (${SEALED})`,
  snapshot_pages: `WHERE snapshot_id IN (${SEALED})`,
  state_pages: `WHERE id IN (SELECT page_id FROM main.snapshot_pages WHERE snapshot_id IN (${SEALED}))`,
};

interface SchemaRow {
  readonly type: string;
  readonly name: string;
  readonly sql: string;
}

/**
 * Writes the copy, which is on disk when this returns, in place of one that has its name. Not inside a transaction.
 * @throws SqliteError `SQLITE_FULL`, and errors of the file system; nothing is left of the copy then
 */
export function backUp(db: Database, file: string): void {
  // What a power cut leaves half written must not count as a copy.
  const partial = `${file}.partial`;
  rmSync(partial, { force: true });
  try {
    closeSync(openSync(partial, "wx", 0o600));
    const schema = db
      .prepare<[], SchemaRow>(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
      )
      .all();
    // An index of words makes the tables that are behind it by itself.
    const shadows = new Set(namesOf(db, "shadow"));
    const tables = schema.filter(({ type, name }) => type === "table" && !shadows.has(name));
    define(partial, tables);
    copyRows(db, partial, [...namesOf(db, "table"), ...shadows]);
    define(
      partial,
      schema.filter(({ type }) => type !== "table"),
      Number(db.pragma("user_version", { simple: true })),
    );
    // Windows writes nothing to disk of a file that is open for reading only.
    sync(partial, "r+");
    renameSync(partial, file);
    // Windows has no such thing as a folder that is written to disk.
    if (process.platform !== "win32") sync(dirname(file), "r");
  } catch (cause) {
    rmSync(partial, { force: true });
    throw cause;
  }
}

/** Removes the copies that were made of this database, but for the named one. */
export function removeBackups(db: Database, but: string | null): void {
  if (db.memory) return;
  const own = `${basename(db.name)}.before-`;
  for (const name of readdirSync(dirname(db.name))) {
    const isCopy = name.startsWith(own) && /\.backup(?:\.partial)?$/.test(name);
    const file = join(dirname(db.name), name);
    if (isCopy && file !== but) rmSync(file, { force: true });
  }
}

function namesOf(db: Database, type: "table" | "shadow"): string[] {
  return db
    .prepare<[string], { readonly name: string }>(
      "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = ? AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .all(type)
    .map(({ name }) => name);
}

/** Tables first and empty, then what is on them: indexes that are made of all rows at once, and triggers that the copying must not fire. */
function define(file: string, schema: readonly SchemaRow[], version = 0): void {
  const copy = new BetterSqlite3(file);
  try {
    quicken(copy, "main");
    for (const { sql } of schema) copy.exec(sql);
    copy.pragma(`user_version = ${version}`);
  } finally {
    copy.close();
  }
}

function copyRows(db: Database, file: string, tables: readonly string[]): void {
  db.prepare("ATTACH ? AS copy").run(file);
  try {
    quicken(db, "copy");
    // Rows come table by table; and the tables behind an index of words are written as they are.
    db.pragma("foreign_keys = OFF");
    db.unsafeMode(true);
    for (const table of tables)
      db.exec(
        `DELETE FROM copy."${table}"; INSERT INTO copy."${table}" SELECT * FROM main."${table}" ${COPIED[table] ?? ""}`,
      );
  } finally {
    db.unsafeMode(false);
    db.pragma("foreign_keys = ON");
    db.exec("DETACH copy");
  }
}

/** A copy that is not finished is thrown away, so nothing of it need be taken back or be on disk before all of it is. */
function quicken(db: Database, schema: "main" | "copy"): void {
  db.pragma(`${schema}.journal_mode = MEMORY`);
  db.pragma(`${schema}.synchronous = OFF`);
}

function sync(path: string, flags: "r" | "r+"): void {
  const handle = openSync(path, flags);
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
