/** Documents as models read them: token ids by tokenizer, chunks, and how far each reading has come. */
import type { Database } from "better-sqlite3";
import { z } from "zod";
import { fromBlob, toBlob } from "./id-blob.ts";
import type { ChunkRecord, DocumentIds, ReadingKey, ReadingRecord, TokenMark } from "./records.ts";

const marksSchema = z.array(z.tuple([z.number().int(), z.number().int()]));

interface IdsRow {
  readonly ids: Buffer;
  readonly marks: string;
}

type IdsKey = Omit<ReadingKey, "modelHash">;

/** False when the document was removed meanwhile. */
export function saveDocumentIds(db: Database, input: IdsKey & DocumentIds): boolean {
  const marks = input.marks.map(({ tokens, offset }) => [tokens, offset]);
  return (
    db
      .prepare(
        `INSERT OR REPLACE INTO document_ids (document_id, tokenizer_hash, lead, ids, marks)
         SELECT id, ?, ?, ?, ? FROM documents WHERE id = ?`,
      )
      .run(
        input.tokenizerHash,
        input.lead,
        toBlob(input.ids),
        JSON.stringify(marks),
        input.documentId,
      ).changes > 0
  );
}

export function documentIds(db: Database, input: IdsKey): DocumentIds | null {
  const row = db
    .prepare<[string, string, string], IdsRow>(
      "SELECT ids, marks FROM document_ids WHERE document_id = ? AND tokenizer_hash = ? AND lead = ?",
    )
    .get(input.documentId, input.tokenizerHash, input.lead);
  if (row === undefined) return null;
  const marks = marksSchema
    .parse(JSON.parse(row.marks))
    .map(([tokens, offset]): TokenMark => ({ tokens, offset }));
  return { ids: fromBlob(row.ids), marks };
}

/** All chunks anew. False when the document was removed meanwhile. */
export function saveChunks(
  db: Database,
  input: IdsKey & { readonly chunks: readonly ChunkRecord[] },
): boolean {
  const save = db.transaction(() => {
    const { documentId, tokenizerHash, lead } = input;
    if (db.prepare("SELECT 1 FROM documents WHERE id = ?").get(documentId) === undefined)
      return false;
    db.prepare(
      "DELETE FROM document_chunks WHERE document_id = ? AND tokenizer_hash = ? AND lead = ?",
    ).run(documentId, tokenizerHash, lead);
    const insert = db.prepare(
      `INSERT INTO document_chunks (document_id, tokenizer_hash, lead, ordinal, page, start, "end", ids)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    for (const { ordinal, page, start, end, ids } of input.chunks)
      insert.run(documentId, tokenizerHash, lead, ordinal, page, start, end, toBlob(ids));
    return true;
  });
  return save();
}

/** In document order; empty where it was not cut yet. */
export function chunksOf(db: Database, input: IdsKey): ChunkRecord[] {
  return db
    .prepare<[string, string, string], Omit<ChunkRecord, "ids"> & { readonly ids: Buffer }>(
      `SELECT ordinal, page, start, "end", ids FROM document_chunks
       WHERE document_id = ? AND tokenizer_hash = ? AND lead = ? ORDER BY ordinal`,
    )
    .all(input.documentId, input.tokenizerHash, input.lead)
    .map((row) => ({ ...row, ids: fromBlob(row.ids) }));
}

const columns = `document_id AS documentId, model_hash AS modelHash, tokenizer_hash AS tokenizerHash, lead, status, done, total, ms,
  error, queued_at AS queuedAt`;

/** False when the document was removed meanwhile. */
export function saveReading(db: Database, input: ReadingRecord): boolean {
  return (
    db
      .prepare(
        `INSERT OR REPLACE INTO readings
           (document_id, model_hash, tokenizer_hash, lead, status, done, total, ms, error, queued_at)
         SELECT id, @modelHash, @tokenizerHash, @lead, @status, @done, @total, @ms, @error, @queuedAt
         FROM documents WHERE id = @documentId`,
      )
      .run(input).changes > 0
  );
}

/** Of one model, tokenizer and lead, the first that was asked for first. */
export function listReadings(db: Database, input: Omit<ReadingKey, "documentId">): ReadingRecord[] {
  return db
    .prepare<[string, string, string], ReadingRecord>(
      `SELECT ${columns} FROM readings WHERE model_hash = ? AND tokenizer_hash = ? AND lead = ? ORDER BY queued_at, document_id`,
    )
    .all(input.modelHash, input.tokenizerHash, input.lead);
}

/** After a crash: what was being read waits until someone says to go on. */
export function interruptReadings(db: Database, _input: Record<string, never>): number {
  return db.prepare("UPDATE readings SET status = 'interrupted' WHERE status = 'reading'").run()
    .changes;
}

/** Forgets ids, chunks and progress, when the text has changed. The snapshots stay: those that still fit are gone on from. */
export function forgetReadings(db: Database, input: { readonly documentId: string }): null {
  for (const table of ["document_ids", "document_chunks", "readings"])
    db.prepare(`DELETE FROM ${table} WHERE document_id = ?`).run(input.documentId);
  return null;
}

/** Of each document that has states of this model: checkpoints of its whole, and bytes on disk, shared pages not counted. */
export function documentStates(
  db: Database,
  input: { readonly modelHash: string },
): { readonly documentId: string; readonly checkpoints: number; readonly bytes: number }[] {
  return db
    .prepare<
      [string],
      { readonly documentId: string; readonly checkpoints: number; readonly bytes: number }
    >(
      `SELECT owner_id AS documentId, sum(series LIKE 'whole/%') AS checkpoints, sum(stored_bytes) AS bytes
       FROM snapshots WHERE owner_kind = 'document' AND model_hash = ? GROUP BY owner_id`,
    )
    .all(input.modelHash);
}

/** Tokens of every document whose ids are kept. */
export function countedDocuments(
  db: Database,
  input: Pick<IdsKey, "tokenizerHash" | "lead">,
): { readonly documentId: string; readonly tokens: number }[] {
  return db
    .prepare<[string, string], { readonly documentId: string; readonly tokens: number }>(
      `SELECT document_id AS documentId, length(ids) / 4 AS tokens FROM document_ids WHERE tokenizer_hash = ? AND lead = ?`,
    )
    .all(input.tokenizerHash, input.lead);
}
