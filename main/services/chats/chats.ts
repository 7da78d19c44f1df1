import { randomUUID } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import type { ChatSummary } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { Store } from "../../store/store.ts";
import type { Events } from "../events.ts";
import { viewChat, viewTree } from "./chat-view.ts";
import type { Deletion } from "./deletion.ts";

type ChatHandlers = Pick<
  Handlers,
  | "chats.list"
  | "chats.create"
  | "chats.get"
  | "chats.tree"
  | "chats.rename"
  | "chats.pin"
  | "chats.delete"
  | "chats.restore"
>;

/** The list of chats. An empty new chat is not listed. */
export function chatHandlers(store: Store, events: Events, deletion: Deletion): ChatHandlers {
  const changed = (found: boolean, chatId: string): null => {
    if (!found) throw new TarnError("not-found", "This chat is not there any more.", { chatId });
    events.emit("chats.changed", {});
    return null;
  };
  return {
    async "chats.list"({ query }): Promise<ChatSummary[]> {
      const chats = await store.run("listChats", { query });
      return chats.map(({ id, title, updatedAt, pinned }) => ({ id, title, updatedAt, pinned }));
    },
    async "chats.create"() {
      const chat = await store.run("createChat", {
        id: randomUUID(),
        title: "",
        baseId: null,
        now: Date.now(),
      });
      return viewChat(store, chat.id);
    },
    "chats.get": ({ chatId }) => viewChat(store, chatId),
    "chats.tree": ({ chatId }) => viewTree(store, chatId),
    async "chats.rename"({ chatId, title }) {
      return changed(await store.run("updateChat", { chatId, title }), chatId);
    },
    async "chats.pin"({ chatId, pinned }) {
      return changed(await store.run("updateChat", { chatId, pinned }), chatId);
    },
    async "chats.delete"({ chatId }) {
      return changed(await deletion.remove(chatId), chatId);
    },
    async "chats.restore"({ chatId }) {
      return changed(await deletion.restore(chatId), chatId);
    },
  };
}
