/** From the store's rows to what the UI shows: siblings, counts, documents of a path. */
import type { Chat, ChatTree, Message } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { ChatRecord, MessageRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";

/** @throws TarnError `not-found` */
export async function requireChat(store: Store, chatId: string): Promise<ChatRecord> {
  const chat = await store.run("getChat", { chatId });
  if (chat === null)
    throw new TarnError("not-found", "This chat is not there any more.", { chatId });
  return chat;
}

/**
 * A message that this chat can show.
 * @throws TarnError `not-found`
 */
export async function requireMessage(
  store: Store,
  chatId: string,
  messageId: string,
): Promise<MessageRecord> {
  await requireChat(store, chatId);
  const found = await store.run("messageInChat", { chatId, messageId });
  if (found === null)
    throw new TarnError("not-found", "This message is not in this chat any more.", {
      chatId,
      messageId,
    });
  return found.message;
}

/** @param siblings of the messages that the chat can show those with the same parent, itself among them, oldest first */
export function viewMessage(message: MessageRecord, siblings: readonly string[]): Message {
  return {
    id: message.id,
    parentId: message.parentId,
    role: message.role,
    text: message.text,
    passages: [...message.passages],
    grounds: message.grounds,
    persona: message.persona,
    documents: [...message.documents],
    status: message.status,
    error: message.error,
    tokens: message.tokens,
    prefilled: message.prefilled,
    tokensPerSecond: message.tokensPerSecond,
    sampler: message.sampler,
    siblings: [...siblings],
    createdAt: message.createdAt,
  };
}

/** Messages of a chat as it shows them. @param visible every message that it can show, oldest first */
export function viewMessages(
  messages: readonly MessageRecord[],
  visible: readonly MessageRecord[],
): Message[] {
  const beside = Map.groupBy(visible, ({ parentId }) => parentId);
  return messages.map((message) =>
    viewMessage(message, beside.get(message.parentId)?.map(({ id }) => id) ?? []),
  );
}

/** The path from the root to the chat's tip. @throws TarnError `not-found` */
export async function viewChat(store: Store, chatId: string): Promise<Chat> {
  const chat = await requireChat(store, chatId);
  const visible = await store.run("messagesOfChat", { chatId });
  const path = chat.tipId === null ? [] : pathTo(visible, chat.tipId);
  const [state] =
    chat.tipId === null
      ? []
      : await store.run("statesOf", { kind: "message", ownerId: chat.tipId, modelHash: null });
  const attached = new Map(
    path.flatMap((message) =>
      message.documents.map((document) => [document.id, document.name] as const),
    ),
  );
  const known = new Map(
    (await store.run("listDocuments", {})).map((document) => [document.id, document]),
  );
  return {
    id: chat.id,
    title: chat.title,
    updatedAt: chat.updatedAt,
    pinned: chat.pinned,
    messages: viewMessages(path, visible),
    tokensRead: path.reduce((sum, message) => sum + message.tokens, 0),
    snapshotBytes: state?.storedBytes ?? null,
    documents: [...attached].map(([id, name]) => ({
      id,
      name,
      pages: known.get(id)?.pages?.length ?? null,
      tokens: null,
    })),
  };
}

/** Characters of a message that the tree shows. */
const EXCERPT = 120;

/** All branches of a chat. @throws TarnError `not-found` */
export async function viewTree(store: Store, chatId: string): Promise<ChatTree> {
  const chat = await requireChat(store, chatId);
  const visible = await store.run("messagesOfChat", { chatId });
  const states = await store.run("statesOfMessages", {
    messageIds: visible.map(({ id }) => id),
  });
  return {
    tipId: chat.tipId,
    nodes: visible.map((message, index) => ({
      id: message.id,
      parentId: message.parentId,
      role: message.role,
      excerpt: message.text.slice(0, EXCERPT).replaceAll(/\s+/g, " ").trim(),
      status: message.status,
      tokens: message.tokens,
      tokensPerSecond: message.tokensPerSecond,
      seed: message.sampler?.seed ?? null,
      snapshotBytes: states[index]?.bytes ?? 0,
      isPinned: states[index]?.isPinned ?? false,
    })),
  };
}

/** The newest leaf below a message, or the message itself. @param visible oldest first */
export function leafBelow(
  visible: readonly Pick<MessageRecord, "id" | "parentId">[],
  messageId: string,
): string {
  const newest = new Map(visible.map(({ id, parentId }) => [parentId, id]));
  let leaf = messageId;
  for (let child = newest.get(leaf); child !== undefined; child = newest.get(leaf)) leaf = child;
  return leaf;
}

function pathTo(visible: readonly MessageRecord[], messageId: string): MessageRecord[] {
  const byId = new Map(visible.map((message) => [message.id, message]));
  const path: MessageRecord[] = [];
  for (
    let message = byId.get(messageId);
    message !== undefined;
    message = message.parentId === null ? undefined : byId.get(message.parentId)
  ) {
    path.push(message);
  }
  return path.toReversed();
}

/** A chat's title from the first words of its first message: at most 60 characters, cut between words. */
export function titleFrom(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, " ");
  if (line.length <= 60) return line;
  const cut = line.slice(0, 60);
  return `${cut.slice(0, Math.max(cut.lastIndexOf(" "), 30)).replace(/[\ud800-\udbff]$/, "")}…`;
}
