import type { Database } from "better-sqlite3";
import { z } from "zod";
import { forgetCopies } from "./database.ts";
import { forgetReadings } from "./readings.ts";
import type { DocumentReach, DocumentRecord, PassageHit, PassageRecord } from "./records.ts";

interface DocumentRow {
  readonly id: string;
  readonly name: string;
  readonly media_type: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly characters: number;
  readonly pages: string | null;
  readonly page_unit: string | null;
  readonly notice: string | null;
  readonly created_at: number;
}

/** `characters` counts code points here, so that a listing need not read the text into JavaScript. */
const columns =
  "id, name, media_type, bytes, sha256, length(text) AS characters, pages, page_unit, notice, created_at";
const pageUnitSchema = z.enum(["page", "slide", "sheet", "chapter"]).nullable();
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
      `INSERT INTO documents (id, name, media_type, bytes, sha256, text, pages, page_unit, notice, created_at)
       VALUES (@id, @name, @mediaType, @bytes, @sha256, @text, @pages, @pageUnit, @notice, @createdAt)`,
    ).run({
      id: document.id,
      name: document.name,
      mediaType: document.mediaType,
      bytes: document.bytes,
      sha256: document.sha256,
      text: input.text,
      pages: document.pages === null ? null : JSON.stringify(document.pages),
      pageUnit: document.pageUnit,
      notice: document.notice,
      createdAt: document.createdAt,
    });
    db.prepare("INSERT INTO document_files (document_id, content) VALUES (?, ?)").run(
      document.id,
      input.content,
    );
    addPassages(db, document.id, input.passages);
  })();
  return null;
}

function addPassages(
  db: Database,
  documentId: string,
  passages: readonly Omit<PassageRecord, "documentId">[],
): void {
  const insert = db.prepare(
    'INSERT INTO passages (document_id, ordinal, page, start, "end", text) VALUES (?, ?, ?, ?, ?, ?)',
  );
  for (const { ordinal, page, start, end, text } of passages)
    insert.run(documentId, ordinal, page, start, end, text);
}

/**
 * A longer text in place of the one there was, which it begins with; what was read of it so far is forgotten, but for snapshots,
 * from which it can be gone on with. False when the document was removed meanwhile, or its text is another one by now.
 */
export function extendDocument(
  db: Database,
  input: {
    readonly document: DocumentRecord;
    /** SHA-256 that the document had. */
    readonly before: string;
    readonly text: string;
    readonly passages: readonly Omit<PassageRecord, "documentId">[];
  },
): boolean {
  const { document } = input;
  const extend = db.transaction(() => {
    const { changes } = db
      .prepare(
        `UPDATE documents SET text = @text, bytes = @bytes, sha256 = @sha256, pages = @pages, page_unit = @pageUnit, notice = @notice
         WHERE id = @id AND sha256 = @before`,
      )
      .run({
        id: document.id,
        before: input.before,
        text: input.text,
        bytes: document.bytes,
        sha256: document.sha256,
        pages: document.pages === null ? null : JSON.stringify(document.pages),
        pageUnit: document.pageUnit,
        notice: document.notice,
      });
    if (changes === 0) return false;
    db.prepare("DELETE FROM passages WHERE document_id = ?").run(document.id);
    addPassages(db, document.id, input.passages);
    forgetReadings(db, { documentId: document.id });
    return true;
  });
  return extend();
}

/** In how many chats each document was brought along. */
export function chatsReading(
  db: Database,
  _input: Record<string, never>,
): { readonly documentId: string; readonly chats: number }[] {
  return db
    .prepare<[], { readonly documentId: string; readonly chats: number }>(
      `SELECT d.document_id AS documentId, count(DISTINCT m.chat_id) AS chats
       FROM message_documents d JOIN messages m ON m.id = d.message_id GROUP BY d.document_id`,
    )
    .all();
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

/** Rows of `passages p` that lie within @reach, a list of DocumentReach as JSON. */
const WITHIN = `EXISTS (SELECT 1 FROM json_each(@reach) AS r WHERE p.document_id = r.value ->> 'documentId'
  AND (r.value ->> 'until' IS NULL OR p."end" <= r.value ->> 'until'))`;

/** Best first by BM25. @param input.match an FTS5 expression (services/documents/search.ts builds it from quoted words only) */
export function searchPassages(
  db: Database,
  input: {
    readonly reach: readonly DocumentReach[];
    readonly match: string;
    readonly limit: number;
  },
): PassageHit[] {
  return db
    .prepare<[{ match: string; reach: string; limit: number }], PassageHit>(
      `SELECT p.document_id AS documentId, p.ordinal, p.page, p.start, p."end", p.text, -bm25(passages_fts) AS score
       FROM passages_fts JOIN passages p ON p.id = passages_fts.rowid
       WHERE passages_fts MATCH @match AND ${WITHIN}
       ORDER BY bm25(passages_fts), p.id LIMIT @limit`,
    )
    .all({ match: input.match, reach: JSON.stringify(input.reach), limit: input.limit });
}

/** How many passages there are, and how many of them match each expression. */
export function countPassages(
  db: Database,
  input: { readonly reach: readonly DocumentReach[]; readonly matches: readonly string[] },
): { readonly all: number; readonly matching: number[] } {
  const reach = JSON.stringify(input.reach);
  const all = db.prepare<[{ reach: string }], { readonly n: number }>(
    `SELECT count(*) AS n FROM passages p WHERE ${WITHIN}`,
  );
  const matching = db.prepare<[{ reach: string; match: string }], { readonly n: number }>(
    `SELECT count(*) AS n FROM passages_fts JOIN passages p ON p.id = passages_fts.rowid
     WHERE passages_fts MATCH @match AND ${WITHIN}`,
  );
  return {
    all: all.get({ reach })?.n ?? 0,
    matching: input.matches.map((match) => matching.get({ reach, match })?.n ?? 0),
  };
}

/** Where every passage lies, in document order, without its text. */
export function passagePlaces(
  db: Database,
  input: { readonly documentId: string },
): Pick<PassageRecord, "page" | "start" | "end">[] {
  return db
    .prepare<[string], Pick<PassageRecord, "page" | "start" | "end">>(
      'SELECT page, start, "end" FROM passages WHERE document_id = ? ORDER BY ordinal',
    )
    .all(input.documentId);
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
    pageUnit: pageUnitSchema.parse(row.page_unit),
    notice: row.notice,
    createdAt: row.created_at,
  };
}
