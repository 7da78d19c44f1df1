/**
 * Undo and redo of what is done to chats. Nothing that was said is ever lost (a chat is a tree, a deleted one stays until the
 * program ends), so undoing is showing what was shown before: another end, another title, a chat that is there again.
 */
import type { Handlers } from "../../contract/contract.ts";
import type { Undone } from "../../contract/dto.ts";
import type { Store } from "../../store/store.ts";
import type { Events } from "../events.ts";
import type { Conversation } from "./conversation.ts";
import type { Deletion } from "./deletion.ts";

/** What can be undone, as the interface names it. */
const NAMES = {
  "messages.send": "Message",
  "messages.regenerate": "New answer",
  "messages.regenerateMany": "New answers",
  "messages.edit": "Edit",
  "messages.select": "Change of branch",
  "messages.deleteBranch": "Deletion of a branch",
  "messages.restoreBranch": "Return of a branch",
  "chats.rename": "New title",
  "chats.pin": "Pin",
  "chats.delete": "Deletion",
  "chats.restore": "Return",
} as const satisfies Partial<Record<keyof Handlers, string>>;
type Undoable = keyof typeof NAMES;

/** More are forgotten, the oldest first. */
const REMEMBERED = 100;

/** What is shown of a chat; null of one that is deleted. */
interface Shown {
  readonly tipId: string | null;
  readonly title: string;
  readonly pinned: boolean;
  /** What deleted branches begin with. */
  readonly deleted: readonly string[];
}

interface Change {
  readonly chatId: string;
  readonly what: string;
  readonly before: Shown | null;
  readonly after: Shown | null;
}

export interface Undo {
  /** The same handlers, which remember what they change. */
  readonly handlers: Pick<Handlers, Undoable>;
  readonly undo: Handlers["history.undo"];
  readonly redo: Handlers["history.redo"];
}

/** @param handlers those whose changes are remembered, for as long as the program runs */
export function createUndo(
  store: Store,
  events: Events,
  conversation: Pick<Conversation, "stopChat">,
  deletion: Deletion,
  handlers: Pick<Handlers, Undoable>,
): Undo {
  let done: Change[] = [];
  let undone: Change[] = [];

  async function shown(chatId: string): Promise<Shown | null> {
    const chat = await store.run("getChat", { chatId });
    if (chat === null) return null;
    const { tipId, title, pinned } = chat;
    return { tipId, title, pinned, deleted: await store.run("deletedBranches", { chatId }) };
  }

  function remembering<I extends { readonly chatId: string }, O>(
    name: Undoable,
    handler: (input: I) => Promise<O>,
  ): (input: I) => Promise<O> {
    return async (input) => {
      const { chatId } = input;
      const before = await shown(chatId);
      const output = await handler(input);
      const after = await shown(chatId);
      // What was never said cannot be shown: a chat's first message stays.
      const hasPlace = before === null || before.tipId !== null;
      if (hasPlace && JSON.stringify(before) !== JSON.stringify(after)) {
        done = [...done, { chatId, what: NAMES[name], before, after }].slice(-REMEMBERED);
        undone = [];
      }
      return output;
    };
  }

  async function show(chatId: string, to: Shown | null): Promise<void> {
    if (to === null) await deletion.remove(chatId);
    else {
      await conversation.stopChat(chatId);
      await deletion.restore(chatId);
      const { title, pinned, tipId, deleted } = to;
      await store.run("updateChat", { chatId, title, pinned });
      await store.run("setDeletedBranches", { chatId, messageIds: deleted, tipId });
    }
    events.emit("chats.changed", {});
  }

  const told = ({ chatId, what }: Change, to: Shown | null): Undone => ({
    chatId: to === null ? null : chatId,
    what,
  });

  return {
    handlers: {
      "messages.send": remembering("messages.send", handlers["messages.send"]),
      "messages.regenerate": remembering("messages.regenerate", handlers["messages.regenerate"]),
      "messages.regenerateMany": remembering(
        "messages.regenerateMany",
        handlers["messages.regenerateMany"],
      ),
      "messages.edit": remembering("messages.edit", handlers["messages.edit"]),
      "messages.select": remembering("messages.select", handlers["messages.select"]),
      "messages.deleteBranch": remembering(
        "messages.deleteBranch",
        handlers["messages.deleteBranch"],
      ),
      "messages.restoreBranch": remembering(
        "messages.restoreBranch",
        handlers["messages.restoreBranch"],
      ),
      "chats.rename": remembering("chats.rename", handlers["chats.rename"]),
      "chats.pin": remembering("chats.pin", handlers["chats.pin"]),
      "chats.delete": remembering("chats.delete", handlers["chats.delete"]),
      "chats.restore": remembering("chats.restore", handlers["chats.restore"]),
    },
    async undo() {
      const change = done.pop();
      if (change === undefined) return null;
      undone.push(change);
      await show(change.chatId, change.before);
      return told(change, change.before);
    },
    async redo() {
      const change = undone.pop();
      if (change === undefined) return null;
      done.push(change);
      await show(change.chatId, change.after);
      return told(change, change.after);
    },
  };
}
