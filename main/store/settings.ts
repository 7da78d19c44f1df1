import type { Database } from "better-sqlite3";

/** Every setting that was ever changed, as the JSON value it was stored with. */
export function readSettings(db: Database, _input: Record<string, never>): Record<string, unknown> {
  const rows = db
    .prepare<[], { readonly key: string; readonly value: string }>(
      "SELECT key, value FROM settings",
    )
    .all();
  return Object.fromEntries(rows.map((row): [string, unknown] => [row.key, JSON.parse(row.value)]));
}

export function writeSettings(
  db: Database,
  input: { readonly values: Readonly<Record<string, unknown>> },
): null {
  const write = db.prepare(
    "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
  );
  db.transaction(() => {
    for (const [key, value] of Object.entries(input.values)) write.run(key, JSON.stringify(value));
  })();
  return null;
}
