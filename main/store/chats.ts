import type { Database } from "better-sqlite3";
import { purgeBranches } from "./branches.ts";
import { forgetCopies } from "./database.ts";
import type { ChatRecord } from "./records.ts";

interface ChatRow {
  readonly id: string;
  readonly title: string;
  readonly pinned: number;
  readonly base_id: string | null;
  readonly tip_id: string | null;
  readonly created_at: number;
  readonly updated_at: number;
}

/** How long an empty chat is kept for a page that is still open at it, ms. */
const KEEP_EMPTY = 24 * 60 * 60 * 1000;

const columns = "id, title, pinned, base_id, tip_id, created_at, updated_at";

/** Chats with at least one message, pinned first, then most recent. `query` looks in titles and messages. */
export function listChats(db: Database, input: { readonly query: string }): ChatRecord[] {
  const words = input.query.trim();
  const like = `%${words.replaceAll(/[\\%_]/g, (sign) => `\\${sign}`)}%`;
  return db
    .prepare<[{ words: string; like: string }], ChatRow>(
      `WITH RECURSIVE gone(chat_id, id) AS (
         SELECT chat_id, message_id FROM deleted_branches
         UNION SELECT gone.chat_id, m.id FROM messages m JOIN gone ON m.parent_id = gone.id
       )
       SELECT ${columns} FROM chats
       WHERE deleted_at IS NULL AND tip_id IS NOT NULL
         AND (@words = '' OR title LIKE @like ESCAPE '\\'
              OR EXISTS (SELECT 1 FROM messages WHERE chat_id = chats.id AND text LIKE @like ESCAPE '\\'
                           AND (chat_id, id) NOT IN (SELECT chat_id, id FROM gone)))
       ORDER BY pinned DESC, updated_at DESC, id`,
    )
    .all({ words, like })
    .map(toChat);
}

/** With `baseId` and `tipId` it is a fork: it begins with the path down to them. */
export function createChat(
  db: Database,
  input: {
    readonly id: string;
    readonly title: string;
    readonly baseId: string | null;
    readonly now: number;
  },
): ChatRecord {
  db.prepare(
    "INSERT INTO chats (id, title, base_id, tip_id, created_at, updated_at) VALUES (@id, @title, @baseId, @baseId, @now, @now)",
  ).run(input);
  return {
    id: input.id,
    title: input.title,
    pinned: false,
    baseId: input.baseId,
    tipId: input.baseId,
    createdAt: input.now,
    updatedAt: input.now,
  };
}

/** Null when there is none, or it was deleted. */
export function getChat(db: Database, input: { readonly chatId: string }): ChatRecord | null {
  const row = db
    .prepare<[string], ChatRow>(`SELECT ${columns} FROM chats WHERE id = ? AND deleted_at IS NULL`)
    .get(input.chatId);
  return row === undefined ? null : toChat(row);
}

/** Changes what is given. True when there was such a chat. */
export function updateChat(
  db: Database,
  input: {
    readonly chatId: string;
    readonly title?: string;
    readonly pinned?: boolean;
    readonly tipId?: string;
    readonly updatedAt?: number;
  },
): boolean {
  const result = db
    .prepare(
      `UPDATE chats SET title = coalesce(@title, title), pinned = coalesce(@pinned, pinned), tip_id = coalesce(@tipId, tip_id),
       updated_at = coalesce(@updatedAt, updated_at) WHERE id = @chatId AND deleted_at IS NULL`,
    )
    .run({
      chatId: input.chatId,
      title: input.title ?? null,
      pinned: input.pinned === undefined ? null : Number(input.pinned),
      tipId: input.tipId ?? null,
      updatedAt: input.updatedAt ?? null,
    });
  return result.changes > 0;
}

/** Soft: the rows stay until `purgeDeletedChats`. True when there was such a chat. */
export function deleteChat(
  db: Database,
  input: { readonly chatId: string; readonly now: number },
): boolean {
  return (
    db
      .prepare("UPDATE chats SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL")
      .run(input.now, input.chatId).changes > 0
  );
}

export function restoreChat(db: Database, input: { readonly chatId: string }): boolean {
  return (
    db.prepare("UPDATE chats SET deleted_at = NULL WHERE id = ?").run(input.chatId).changes > 0
  );
}

/**
 * Removes chats that never had a word, a day after they were made, and deleted chats and branches with their messages and states from
 * the file. Messages that a fork still stands on go to that fork.
 * @returns how many deleted chats and branches were removed
 */
export function purgeDeletedChats(db: Database, input: { readonly now: number }): number {
  const inherit = db.prepare(
    `WITH RECURSIVE path(id, parent_id) AS (
       SELECT id, parent_id FROM messages WHERE id = @base
       UNION ALL SELECT m.id, m.parent_id FROM messages m JOIN path ON m.id = path.parent_id
     )
     UPDATE messages SET chat_id = @chat
     WHERE id IN (SELECT id FROM path) AND chat_id IN (SELECT id FROM chats WHERE deleted_at IS NOT NULL)`,
  );
  const purged = db.transaction(() => {
    db.prepare("UPDATE chats SET base_id = NULL, tip_id = NULL WHERE deleted_at IS NOT NULL").run();
    const branches = purgeBranches(db);
    const forks = db
      .prepare<[], { readonly id: string; readonly base_id: string }>(
        "SELECT id, base_id FROM chats WHERE base_id IS NOT NULL AND deleted_at IS NULL",
      )
      .all();
    for (const fork of forks) inherit.run({ base: fork.base_id, chat: fork.id });
    db.prepare(
      "DELETE FROM chats WHERE tip_id IS NULL AND deleted_at IS NULL AND created_at < ?",
    ).run(input.now - KEEP_EMPTY);
    return branches + db.prepare("DELETE FROM chats WHERE deleted_at IS NOT NULL").run().changes;
  })();
  if (purged > 0) forgetCopies(db);
  return purged;
}

function toChat(row: ChatRow): ChatRecord {
  return {
    id: row.id,
    title: row.title,
    pinned: row.pinned !== 0,
    baseId: row.base_id,
    tipId: row.tip_id,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
