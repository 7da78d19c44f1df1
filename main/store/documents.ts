import type { Database } from "better-sqlite3";
import { z } from "zod";
import { forgetCopies } from "./database.ts";
import type { DocumentRecord, PassageHit, PassageRecord } from "./records.ts";

interface DocumentRow {
  readonly id: string;
  readonly name: string;
  readonly media_type: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly characters: number;
  readonly pages: string | null;
  readonly created_at: number;
}

/** `characters` counts code points here, so that a listing need not read the text into JavaScript. */
const columns =
  "id, name, media_type, bytes, sha256, length(text) AS characters, pages, created_at";
const pagesSchema = z.array(
  z.object({
    page: z.number().int(),
    start: z.number().int(),
    title: z.string().exactOptional(),
  }),
);

/** The document, its text, its original bytes and its passages, all or nothing. */
export function addDocument(
  db: Database,
  input: {
    readonly document: DocumentRecord;
    readonly text: string;
    readonly content: Uint8Array;
    readonly passages: readonly Omit<PassageRecord, "documentId">[];
  },
): null {
  const { document } = input;
  db.transaction(() => {
    db.prepare(
      `INSERT INTO documents (id, name, media_type, bytes, sha256, text, pages, created_at)
       VALUES (@id, @name, @mediaType, @bytes, @sha256, @text, @pages, @createdAt)`,
    ).run({
      id: document.id,
      name: document.name,
      mediaType: document.mediaType,
      bytes: document.bytes,
      sha256: document.sha256,
      text: input.text,
      pages: document.pages === null ? null : JSON.stringify(document.pages),
      createdAt: document.createdAt,
    });
    db.prepare("INSERT INTO document_files (document_id, content) VALUES (?, ?)").run(
      document.id,
      input.content,
    );
    const insert = db.prepare(
      'INSERT INTO passages (document_id, ordinal, page, start, "end", text) VALUES (?, ?, ?, ?, ?, ?)',
    );
    for (const passage of input.passages) {
      insert.run(
        document.id,
        passage.ordinal,
        passage.page,
        passage.start,
        passage.end,
        passage.text,
      );
    }
  })();
  return null;
}

/** Newest first. */
export function listDocuments(db: Database, _input: Record<string, never>): DocumentRecord[] {
  return db
    .prepare<[], DocumentRow>(`SELECT ${columns} FROM documents ORDER BY created_at DESC, id`)
    .all()
    .map(toDocument);
}

export function getDocument(
  db: Database,
  input: { readonly documentId: string },
): DocumentRecord | null {
  const row = db
    .prepare<[string], DocumentRow>(`SELECT ${columns} FROM documents WHERE id = ?`)
    .get(input.documentId);
  return row === undefined ? null : toDocument(row);
}

/** The document with exactly these bytes, if it was imported before. */
export function findDocument(
  db: Database,
  input: { readonly sha256: string },
): DocumentRecord | null {
  const row = db
    .prepare<[string], DocumentRow>(`SELECT ${columns} FROM documents WHERE sha256 = ?`)
    .get(input.sha256);
  return row === undefined ? null : toDocument(row);
}

export function documentText(db: Database, input: { readonly documentId: string }): string | null {
  return (
    db
      .prepare<[string], { readonly text: string }>("SELECT text FROM documents WHERE id = ?")
      .get(input.documentId)?.text ?? null
  );
}

export function removeDocument(db: Database, input: { readonly documentId: string }): boolean {
  const removed =
    db.prepare("DELETE FROM documents WHERE id = ?").run(input.documentId).changes > 0;
  if (removed) forgetCopies(db);
  return removed;
}

/** Best first by BM25. @param input.match an FTS5 expression (services/documents/search.ts builds it from quoted words only) */
export function searchPassages(
  db: Database,
  input: {
    readonly documentIds: readonly string[];
    readonly match: string;
    readonly limit: number;
  },
): PassageHit[] {
  return db
    .prepare<[{ match: string; ids: string; limit: number }], PassageHit>(
      `SELECT p.document_id AS documentId, p.ordinal, p.page, p.start, p."end", p.text, -bm25(passages_fts) AS score
       FROM passages_fts JOIN passages p ON p.id = passages_fts.rowid
       WHERE passages_fts MATCH @match AND p.document_id IN (SELECT value FROM json_each(@ids))
       ORDER BY bm25(passages_fts), p.id LIMIT @limit`,
    )
    .all({ match: input.match, ids: JSON.stringify(input.documentIds), limit: input.limit });
}

/** Passages by their place, in document order; those that do not exist are left out. */
export function passagesAt(
  db: Database,
  input: { readonly documentId: string; readonly ordinals: readonly number[] },
): PassageRecord[] {
  return db
    .prepare<[string, string], PassageRecord>(
      `SELECT document_id AS documentId, ordinal, page, start, "end", text FROM passages
       WHERE document_id = ? AND ordinal IN (SELECT value FROM json_each(?)) ORDER BY ordinal`,
    )
    .all(input.documentId, JSON.stringify(input.ordinals));
}

function toDocument(row: DocumentRow): DocumentRecord {
  return {
    id: row.id,
    name: row.name,
    mediaType: row.media_type,
    bytes: row.bytes,
    sha256: row.sha256,
    characters: row.characters,
    pages: row.pages === null ? null : pagesSchema.parse(JSON.parse(row.pages)),
    createdAt: row.created_at,
  };
}
