/** Deleting a branch: a message and everything behind it, in one chat, soft until the program ends. And keeping the state of a message. */
import type { Handlers } from "../../contract/contract.ts";
import { TarnError } from "../../contract/errors.ts";
import type { MessageRecord } from "../../store/records.ts";
import { leafBelow, requireMessage, viewChat } from "./chat-view.ts";
import type { Conversation } from "./conversation.ts";
import type { TurnContext } from "./turn-context.ts";

type BranchHandlers = Pick<
  Handlers,
  "messages.deleteBranch" | "messages.restoreBranch" | "messages.pinState"
>;

export function branchHandlers(
  { store, events, states, engine }: Pick<TurnContext, "store" | "events" | "states" | "engine">,
  conversation: Pick<Conversation, "stopChat">,
): BranchHandlers {
  return {
    async "messages.deleteBranch"({ chatId, messageId }) {
      await requireMessage(store, chatId, messageId);
      const visible = await store.run("messagesOfChat", { chatId });
      const rootId = beginningOf(visible, messageId);
      const doomed = behind(visible, rootId);
      await conversation.stopChat(chatId, doomed);
      const chat = await store.run("getChat", { chatId });
      const standsThere = chat === null || chat.tipId === null || doomed.has(chat.tipId);
      const tipId = standsThere ? placeBeside(visible, rootId, doomed) : chat.tipId;
      const before = await store.run("deletedBranches", { chatId });
      await store.run("setDeletedBranches", { chatId, messageIds: [...before, rootId], tipId });
      events.emit("chats.changed", {});
      return { chat: await viewChat(store, chatId), messageId: rootId, messages: doomed.size };
    },

    async "messages.restoreBranch"({ chatId, messageId }) {
      const before = await store.run("deletedBranches", { chatId });
      if (!before.includes(messageId))
        throw new TarnError("not-found", "This branch was not deleted, or is gone for good.", {
          chatId,
          messageId,
        });
      const messageIds = before.filter((id) => id !== messageId);
      await store.run("setDeletedBranches", { chatId, messageIds, tipId: messageId });
      const visible = await store.run("messagesOfChat", { chatId });
      await store.run("updateChat", { chatId, tipId: leafBelow(visible, messageId) });
      events.emit("chats.changed", {});
      return viewChat(store, chatId);
    },

    async "messages.pinState"({ chatId, messageId, pinned }) {
      await requireMessage(store, chatId, messageId);
      const all = await states.list({ kind: "message", id: messageId }, null);
      const own = all.filter(({ modelHash }) => modelHash === engine.ready()?.info.modelHash);
      // A pin is taken off whichever state has it; it is put on the one that the present model goes on from.
      const chosen = pinned && own.length > 0 ? own : all;
      if (chosen.length === 0)
        throw new TarnError(
          "not-found",
          "The memory behind this message is not stored, so there is nothing to keep. Read the chat again first.",
          { messageId },
        );
      for (const state of chosen) await states.pin(state.id, pinned);
      events.emit("chats.changed", {});
      return null;
    },
  };
}

/** Where the branch begins that a message stands for: a document that was read for this message alone goes with it. */
function beginningOf(visible: readonly MessageRecord[], messageId: string): string {
  const parentId = visible.find(({ id }) => id === messageId)?.parentId ?? null;
  const parent = visible.find(({ id }) => id === parentId);
  if (parent?.role !== "document") return messageId;
  const others = visible.filter((one) => one.parentId === parent.id && one.id !== messageId);
  return others.length === 0 ? beginningOf(visible, parent.id) : messageId;
}

/** A message and all behind it. */
function behind(visible: readonly MessageRecord[], messageId: string): ReadonlySet<string> {
  const found = new Set([messageId]);
  // A parent stands before its children.
  for (const { id, parentId } of visible)
    if (parentId !== null && found.has(parentId)) found.add(id);
  return found;
}

/** What is shown instead of a branch: the newest one beside it, else what it hung on; null where that was all. */
function placeBeside(
  visible: readonly MessageRecord[],
  messageId: string,
  doomed: ReadonlySet<string>,
): string | null {
  const parentId = visible.find(({ id }) => id === messageId)?.parentId ?? null;
  const left = visible.filter(({ id }) => !doomed.has(id));
  const beside = left.findLast((one) => one.parentId === parentId);
  return beside === undefined ? parentId : leafBelow(left, beside.id);
}
