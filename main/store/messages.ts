import type { Database } from "better-sqlite3";
import { z } from "zod";
import { errorCodes } from "../contract/errors.ts";
import {
  appliedPersonaSchema,
  groundsSchema,
  messageSchema,
  passageSchema,
} from "../contract/dto.ts";
import type { Provenance } from "../contract/provenance.ts";
import { GONE } from "./branches.ts";
import { fromBlob, toBlob } from "./id-blob.ts";
import { saveProvenance } from "./provenance.ts";
import type { AttachedDocument, MessageIds, MessagePatch, MessageRecord } from "./records.ts";

interface MessageRow {
  readonly id: string;
  readonly chat_id: string;
  readonly parent_id: string | null;
  readonly role: string;
  readonly text: string;
  readonly status: string;
  readonly error_code: string | null;
  readonly error_message: string | null;
  readonly passages: string;
  readonly grounds: string | null;
  readonly persona: string | null;
  readonly tokens: number;
  readonly prefilled: number | null;
  readonly tokens_per_second: number | null;
  readonly temperature: number | null;
  readonly seed: number | null;
  readonly created_at: number;
}

const ancestors = `
  WITH RECURSIVE path(id, parent_id, depth) AS (
    SELECT id, parent_id, 0 FROM messages WHERE id = @id
    UNION ALL SELECT m.id, m.parent_id, path.depth + 1 FROM messages m JOIN path ON m.id = path.parent_id
  )`;

/** Writes messages with their ids, and moves the chat's tip to the last of them, all or nothing. */
export function addMessages(
  db: Database,
  input: {
    readonly messages: readonly {
      readonly message: MessageRecord;
      readonly ids: MessageIds | null;
    }[];
    readonly chatId: string;
    readonly title: string | null;
    readonly now: number;
  },
): null {
  db.transaction(() => {
    for (const { message, ids } of input.messages) {
      insertMessage(db, message);
      if (ids !== null) setMessageIds(db, { messageId: message.id, ...ids });
    }
    db.prepare(
      "UPDATE chats SET tip_id = @tip, updated_at = @now, title = coalesce(@title, title) WHERE id = @chat",
    ).run({
      chat: input.chatId,
      tip: input.messages.at(-1)?.message.id ?? null,
      now: input.now,
      title: input.title,
    });
  })();
  return null;
}

function insertMessage(db: Database, message: MessageRecord): void {
  db.prepare(
    `INSERT INTO messages (id, chat_id, parent_id, role, text, status, error_code, error_message, passages, grounds, persona, tokens, prefilled,
       tokens_per_second, temperature, seed, created_at)
     VALUES (@id, @chatId, @parentId, @role, @text, @status, @errorCode, @errorMessage, @passages, @grounds, @persona, @tokens, @prefilled,
       @tokensPerSecond, @temperature, @seed, @createdAt)`,
  ).run({
    id: message.id,
    chatId: message.chatId,
    parentId: message.parentId,
    role: message.role,
    text: message.text,
    status: message.status,
    errorCode: message.error?.code ?? null,
    errorMessage: message.error?.message ?? null,
    passages: JSON.stringify(message.passages),
    grounds: message.grounds === null ? null : JSON.stringify(message.grounds),
    persona: message.persona === null ? null : JSON.stringify(message.persona),
    tokens: message.tokens,
    prefilled: message.prefilled,
    tokensPerSecond: message.tokensPerSecond,
    temperature: message.sampler?.temperature ?? null,
    seed: message.sampler?.seed ?? null,
    createdAt: message.createdAt,
  });
  const attach = db.prepare(
    "INSERT INTO message_documents (message_id, ordinal, document_id, name, until, as_of) VALUES (?, ?, ?, ?, ?, ?)",
  );
  for (const [ordinal, document] of message.documents.entries())
    attach.run(message.id, ordinal, document.id, document.name, document.until, document.asOf);
}

/** Changes what is given, and replaces the ids where given, in one transaction. False when the message is gone. */
export function updateMessage(
  db: Database,
  input: {
    readonly messageId: string;
    readonly patch: MessagePatch;
    readonly ids: MessageIds | null;
    /** Of an answer that ends with this. */
    readonly provenance?: Provenance | null;
  },
): boolean {
  return db.transaction(() => {
    const before = getMessage(db, { messageId: input.messageId });
    if (before === null) return false;
    const after = { ...before, ...input.patch };
    db.prepare(
      `UPDATE messages SET text = @text, status = @status, error_code = @errorCode, error_message = @errorMessage, passages = @passages, grounds = @grounds,
         tokens = @tokens, prefilled = @prefilled, tokens_per_second = @tokensPerSecond, temperature = @temperature, seed = @seed
       WHERE id = @id`,
    ).run({
      id: after.id,
      text: after.text,
      status: after.status,
      errorCode: after.error?.code ?? null,
      errorMessage: after.error?.message ?? null,
      passages: JSON.stringify(after.passages),
      grounds: after.grounds === null ? null : JSON.stringify(after.grounds),
      tokens: after.tokens,
      prefilled: after.prefilled,
      tokensPerSecond: after.tokensPerSecond,
      temperature: after.sampler?.temperature ?? null,
      seed: after.sampler?.seed ?? null,
    });
    if (input.ids !== null) setMessageIds(db, { messageId: input.messageId, ...input.ids });
    const record = input.provenance ?? null;
    if (record !== null) saveProvenance(db, { messageId: input.messageId, record });
    return true;
  })();
}

export function setMessageIds(
  db: Database,
  input: { readonly messageId: string } & MessageIds,
): null {
  db.prepare(
    `INSERT INTO message_ids (message_id, tokenizer_hash, ids) VALUES (?, ?, ?)
     ON CONFLICT (message_id, tokenizer_hash) DO UPDATE SET ids = excluded.ids`,
  ).run(input.messageId, input.tokenizerHash, toBlob(input.ids));
  return null;
}

export function getMessage(
  db: Database,
  input: { readonly messageId: string },
): MessageRecord | null {
  const row = db
    .prepare<[string], MessageRow>("SELECT * FROM messages WHERE id = ?")
    .get(input.messageId);
  return row === undefined ? null : messageReader(db)(row);
}

/** The message that a path begins with; null when there is no such message. */
export function rootOf(db: Database, input: { readonly messageId: string }): MessageRecord | null {
  const row = db
    .prepare<[{ id: string }], MessageRow>(
      `${ancestors} SELECT m.* FROM path CROSS JOIN messages m ON m.id = path.id WHERE path.parent_id IS NULL`,
    )
    .get({ id: input.messageId });
  return row === undefined ? null : messageReader(db)(row);
}

/** From the root down to this message; empty when there is no such message. */
export function pathTo(db: Database, input: { readonly messageId: string }): MessageRecord[] {
  return db
    .prepare<[{ id: string }], MessageRow>(
      `${ancestors} SELECT m.* FROM path CROSS JOIN messages m ON m.id = path.id ORDER BY path.depth DESC`,
    )
    .all({ id: input.messageId })
    .map(messageReader(db));
}

/** The token ids along the path from the root; null where this tokenizer has not read the message. */
export function idsOnPath(
  db: Database,
  input: { readonly messageId: string; readonly tokenizerHash: string },
): { readonly messageId: string; readonly ids: Int32Array | null }[] {
  return db
    .prepare<[{ id: string; hash: string }], { readonly id: string; readonly ids: Buffer | null }>(
      `${ancestors} SELECT path.id, i.ids FROM path
       LEFT JOIN message_ids i ON i.message_id = path.id AND i.tokenizer_hash = @hash ORDER BY path.depth DESC`,
    )
    .all({ id: input.messageId, hash: input.tokenizerHash })
    .map((row) => ({ messageId: row.id, ids: row.ids === null ? null : fromBlob(row.ids) }));
}

/** What the chat `@chat` can show: its own messages, and the path above the place where it was forked, less deleted branches. */
const SHOWN = `WITH RECURSIVE path(id, parent_id) AS (
    SELECT m.id, m.parent_id FROM chats c JOIN messages m ON m.id = c.base_id WHERE c.id = @chat
    UNION ALL SELECT m.id, m.parent_id FROM messages m JOIN path ON m.id = path.parent_id
  ), ${GONE}`;
const IS_SHOWN =
  "(chat_id = @chat OR id IN (SELECT id FROM path)) AND id NOT IN (SELECT id FROM gone)";

/** Every message that a chat can show, oldest first. */
export function messagesOfChat(db: Database, input: { readonly chatId: string }): MessageRecord[] {
  return db
    .prepare<[{ chat: string }], MessageRow>(
      `${SHOWN} SELECT * FROM messages WHERE ${IS_SHOWN} ORDER BY created_at, rowid`,
    )
    .all({ chat: input.chatId })
    .map(messageReader(db));
}

/** One of the messages that a chat can show, however many there are, with those that stand beside it, itself among them, oldest first; or null. */
export function messageInChat(
  db: Database,
  input: { readonly chatId: string; readonly messageId: string },
): { readonly message: MessageRecord; readonly siblings: readonly string[] } | null {
  const chat = input.chatId;
  const row = db
    .prepare<[{ chat: string; id: string }], MessageRow>(
      `${SHOWN} SELECT * FROM messages WHERE id = @id AND ${IS_SHOWN}`,
    )
    .get({ chat, id: input.messageId });
  if (row === undefined) return null;
  const parent = row.parent_id;
  // Roots are all messages' that have no parent: they are found by their chat.
  const beside = parent === null ? "+parent_id IS @parent" : "parent_id = @parent";
  const siblings = db
    .prepare<[{ chat: string; parent: string | null }], { readonly id: string }>(
      `${SHOWN} SELECT id FROM messages WHERE ${beside} AND ${IS_SHOWN} ORDER BY created_at, rowid`,
    )
    .all({ chat, parent });
  return { message: messageReader(db)(row), siblings: siblings.map(({ id }) => id) };
}

/** After a crash: what was waiting or running becomes `stopped`, with the text and ids that were saved. */
export function stopInterrupted(db: Database, _input: Record<string, never>): number {
  return db
    .prepare(
      "UPDATE messages SET status = CASE role WHEN 'assistant' THEN 'stopped' ELSE 'done' END WHERE status IN ('queued', 'reading', 'writing')",
    )
    .run().changes;
}

/** Reads rows, with a statement for all of them that finds each one's documents. */
function messageReader(db: Database): (row: MessageRow) => MessageRecord {
  const documents = db.prepare<[string], AttachedDocument>(
    "SELECT document_id AS id, name, until, as_of AS asOf FROM message_documents WHERE message_id = ? ORDER BY ordinal",
  );
  return (row) => ({
    id: row.id,
    chatId: row.chat_id,
    parentId: row.parent_id,
    role: messageSchema.shape.role.parse(row.role),
    text: row.text,
    status: messageSchema.shape.status.parse(row.status),
    error:
      row.error_code === null
        ? null
        : { code: z.enum(errorCodes).parse(row.error_code), message: row.error_message ?? "" },
    passages: z.array(passageSchema).parse(JSON.parse(row.passages)),
    grounds: row.grounds === null ? null : groundsSchema.parse(JSON.parse(row.grounds)),
    persona: row.persona === null ? null : appliedPersonaSchema.parse(JSON.parse(row.persona)),
    documents: documents.all(row.id),
    tokens: row.tokens,
    prefilled: row.prefilled,
    tokensPerSecond: row.tokens_per_second,
    sampler:
      row.temperature === null || row.seed === null
        ? null
        : { temperature: row.temperature, seed: row.seed },
    createdAt: row.created_at,
  });
}
