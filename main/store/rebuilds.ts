/** Chats that are read again, as far as they are; see migration 0010. */
import type { Database } from "better-sqlite3";
import type { RebuildRecord } from "./records.ts";

/**
 * Writes it, new or in place of the one of its chat and model: of one with another id its state goes, too. False when its chat was
 * removed meanwhile.
 */
export function saveRebuild(db: Database, input: RebuildRecord): boolean {
  const save = db.transaction(() => {
    db.prepare(
      `DELETE FROM rebuilds WHERE chat_id = @chatId AND model_hash = @modelHash AND tokenizer_hash = @tokenizerHash AND id <> @id`,
    ).run(input);
    return db
      .prepare(
        `INSERT INTO rebuilds (id, chat_id, message_id, model_hash, tokenizer_hash, rank, status, done, total, added_at)
         SELECT @id, c.id, m.id, @modelHash, @tokenizerHash, @rank, @status, @done, @total, @addedAt
         FROM chats c LEFT JOIN messages m ON m.id = @messageId WHERE c.id = @chatId
         ON CONFLICT (id) DO UPDATE SET message_id = excluded.message_id, rank = excluded.rank, status = excluded.status,
           done = excluded.done, total = excluded.total`,
      )
      .run(input).changes;
  });
  return save() > 0;
}

/** With the state of the place that it has reached. */
export function removeRebuild(db: Database, input: { readonly id: string }): null {
  db.prepare("DELETE FROM rebuilds WHERE id = ?").run(input.id);
  return null;
}

/** Of one model and tokenizer, in the order of their coming; without those of deleted chats. */
export function listRebuilds(
  db: Database,
  input: Pick<RebuildRecord, "modelHash" | "tokenizerHash">,
): RebuildRecord[] {
  return db
    .prepare<[string, string], RebuildRecord>(
      `SELECT r.id, chat_id AS chatId, message_id AS messageId, model_hash AS modelHash, tokenizer_hash AS tokenizerHash,
         rank, status, done, total, added_at AS addedAt
       FROM rebuilds r JOIN chats c ON c.id = chat_id
       WHERE model_hash = ? AND tokenizer_hash = ? AND c.deleted_at IS NULL ORDER BY added_at, r.rowid`,
    )
    .all(input.modelHash, input.tokenizerHash);
}

/** After a crash: what was being read waits until someone says to go on, as it may have been what crashed. */
export function interruptRebuilds(db: Database, _input: Record<string, never>): number {
  return db.prepare("UPDATE rebuilds SET status = 'paused' WHERE status = 'reading'").run().changes;
}
