/** Deleting a chat, and bringing it back: the one way for those who ask for it and for undo. */
import type { Store } from "../../store/store.ts";
import type { Conversation } from "./conversation.ts";
import type { Rebuilder } from "./rebuild.ts";

export interface Deletion {
  /** Soft: what is being written or read of it stops, and it stays in the file until the program ends. False where there is no such chat. */
  remove(chatId: string): Promise<boolean>;
  /** With everything that stood there; reading it again goes on where it was. False where there is no such chat. */
  restore(chatId: string): Promise<boolean>;
}

export function createDeletion(
  store: Store,
  conversation: Pick<Conversation, "stopChat">,
  rebuilder: Pick<Rebuilder, "putAside" | "takeUp">,
): Deletion {
  return {
    async remove(chatId) {
      await conversation.stopChat(chatId);
      rebuilder.putAside(chatId);
      return store.run("deleteChat", { chatId, now: Date.now() });
    },
    async restore(chatId) {
      const isThere = await store.run("restoreChat", { chatId });
      if (isThere) await rebuilder.takeUp(chatId);
      return isThere;
    },
  };
}
