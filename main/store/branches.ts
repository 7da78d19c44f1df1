/** Branches that are deleted from a chat: hidden at once, removed from the file when they cannot be brought back any more. */
import type { Database } from "better-sqlite3";

/** Common table expression: `gone`, every message that the chat `@chat` does not show any more. */
export const GONE = `gone(id) AS (
  SELECT message_id FROM deleted_branches WHERE chat_id = @chat
  UNION SELECT m.id FROM messages m JOIN gone ON m.parent_id = gone.id
)`;

/** The messages that deleted branches of this chat begin with. */
export function deletedBranches(db: Database, input: { readonly chatId: string }): string[] {
  return db
    .prepare<[string], { readonly id: string }>(
      "SELECT message_id AS id FROM deleted_branches WHERE chat_id = ? ORDER BY message_id",
    )
    .all(input.chatId)
    .map(({ id }) => id);
}

/** These branches, and no others, are deleted from the chat, which stands at `tipId` then: all or nothing. */
export function setDeletedBranches(
  db: Database,
  input: {
    readonly chatId: string;
    readonly messageIds: readonly string[];
    readonly tipId: string | null;
  },
): null {
  db.transaction(() => {
    db.prepare("DELETE FROM deleted_branches WHERE chat_id = ?").run(input.chatId);
    const add = db.prepare("INSERT INTO deleted_branches (chat_id, message_id) VALUES (?, ?)");
    for (const messageId of input.messageIds) add.run(input.chatId, messageId);
    db.prepare("UPDATE chats SET tip_id = ? WHERE id = ?").run(input.tipId, input.chatId);
  })();
  return null;
}

/**
 * Removes the messages of deleted branches with their states. What a fork stands on goes to that fork. Inside a transaction.
 * @returns how many branches there were
 */
export function purgeBranches(db: Database): number {
  const rows = db
    .prepare<[], { readonly chat: string; readonly message: string }>(
      "SELECT chat_id AS chat, message_id AS message FROM deleted_branches",
    )
    .all();
  // A fork that let go of a part of what it began with begins before that part.
  const rebase = db.prepare(
    `WITH RECURSIVE behind(id) AS (
       SELECT @message UNION SELECT m.id FROM messages m JOIN behind ON m.parent_id = behind.id
     )
     UPDATE chats SET base_id = (SELECT parent_id FROM messages WHERE id = @message)
     WHERE id = @chat AND base_id IN (SELECT id FROM behind)`,
  );
  for (const row of rows) rebase.run(row);
  const chats = [...new Set(rows.map(({ chat }) => chat))];
  const inherit = db.prepare(
    `WITH RECURSIVE ${GONE}, path(id, parent_id) AS (
       SELECT id, parent_id FROM messages WHERE id = @base
       UNION ALL SELECT m.id, m.parent_id FROM messages m JOIN path ON m.id = path.parent_id
     )
     UPDATE messages SET chat_id = @fork WHERE chat_id = @chat AND id IN (SELECT id FROM gone) AND id IN (SELECT id FROM path)`,
  );
  const remove = db.prepare(
    `WITH RECURSIVE ${GONE} DELETE FROM messages WHERE chat_id = @chat AND id IN (SELECT id FROM gone)`,
  );
  const forks = db
    .prepare<[], { readonly fork: string; readonly base: string }>(
      "SELECT id AS fork, base_id AS base FROM chats WHERE base_id IS NOT NULL AND deleted_at IS NULL",
    )
    .all();
  for (const chat of chats)
    for (const { fork, base } of forks) if (fork !== chat) inherit.run({ chat, fork, base });
  for (const chat of chats) remove.run({ chat });
  db.prepare("DELETE FROM deleted_branches").run();
  return rows.length;
}
