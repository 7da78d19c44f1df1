/** Personas: what a chat can begin with; see migration 0007. */
import type { Database } from "better-sqlite3";
import { z } from "zod";
import { exampleSchema } from "../contract/dto.ts";
import { forgetCopies } from "./database.ts";
import type { PersonaRecord } from "./records.ts";

interface PersonaRow extends Omit<PersonaRecord, "examples"> {
  readonly examples: string;
}

const columns =
  "id, name, prompt, examples, temperature, created_at AS createdAt, updated_at AS updatedAt";

/** By name. */
export function listPersonas(db: Database, _input: Record<string, never>): PersonaRecord[] {
  return db
    .prepare<[], PersonaRow>(`SELECT ${columns} FROM personas ORDER BY name COLLATE NOCASE, id`)
    .all()
    .map(toPersona);
}

/** Null when there is none. */
export function getPersona(
  db: Database,
  input: { readonly personaId: string },
): PersonaRecord | null {
  const row = db
    .prepare<[string], PersonaRow>(`SELECT ${columns} FROM personas WHERE id = ?`)
    .get(input.personaId);
  return row === undefined ? null : toPersona(row);
}

/** Writes it, new or in place of the one with its id; its states stay until `dropStatesOf`. */
export function savePersona(db: Database, input: PersonaRecord): null {
  db.prepare(
    `INSERT INTO personas (id, name, prompt, examples, temperature, created_at, updated_at)
     VALUES (@id, @name, @prompt, @examples, @temperature, @createdAt, @updatedAt)
     ON CONFLICT (id) DO UPDATE SET name = excluded.name, prompt = excluded.prompt, examples = excluded.examples,
       temperature = excluded.temperature, updated_at = excluded.updated_at`,
  ).run({ ...input, examples: JSON.stringify(input.examples) });
  return null;
}

/** With its states, and without a trace of either in the file. True when there was one. */
export function removePersona(db: Database, input: { readonly personaId: string }): boolean {
  const gone = db.prepare("DELETE FROM personas WHERE id = ?").run(input.personaId).changes > 0;
  if (gone) forgetCopies(db);
  return gone;
}

function toPersona(row: PersonaRow): PersonaRecord {
  return { ...row, examples: z.array(exampleSchema).parse(JSON.parse(row.examples)) };
}
