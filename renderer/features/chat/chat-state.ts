/** How events change the chat that is shown. Pure, so that order and gaps can be tested. */
import type { Chat, Message } from "../../../main/contract/dto.ts";

export function isTransient({ status }: Message): boolean {
  return status === "queued" || status === "reading" || status === "writing";
}

/** The chat with a changed message, or null when the message is not on the shown path: ask for the chat again. */
export function withMessage(chat: Chat, message: Message): Chat | null {
  const at = chat.messages.findIndex(({ id }) => id === message.id);
  if (at === -1) return null;
  return { ...chat, messages: chat.messages.with(at, message) };
}

/** The chat with text appended to a message, or null when a piece in between was missed: ask for the chat again. */
export function withDelta(
  chat: Chat,
  delta: { readonly messageId: string; readonly at: number; readonly text: string },
): Chat | null {
  const index = chat.messages.findIndex(({ id }) => id === delta.messageId);
  const message = chat.messages[index];
  if (message === undefined) return null;
  if (message.text.length > delta.at) {
    // The chat was fetched after this piece was written; it is in there already.
    return message.text.length >= delta.at + delta.text.length ? chat : null;
  }
  if (message.text.length < delta.at) return null;
  return {
    ...chat,
    messages: chat.messages.with(index, {
      ...message,
      status: "writing",
      text: message.text + delta.text,
    }),
  };
}
