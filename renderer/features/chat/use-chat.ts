import { useCallback, useEffect, useRef, useState } from "react";
import type { Chat, ReadingProgress } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi, useApiEvent } from "../../client/context.tsx";
import { isTransient, withDelta, withMessage } from "./chat-state.ts";

export interface ShownChat {
  /** Null while it is being fetched, and for a new chat. */
  readonly chat: Chat | null;
  readonly progress: ReadingProgress | null;
  reload(): Promise<void>;
  show(chat: Chat): void;
}

/** The chat on the screen, kept up to date by events; pieces of text are painted once a frame. */
export function useChat(chatId: string | null, onError: (message: string) => void): ShownChat {
  const api = useApi();
  const [chat, setChat] = useState<Chat | null>(null);
  const [progress, setProgress] = useState<ReadingProgress | null>(null);
  /** The newest value, ahead of what is painted. */
  const newest = useRef<Chat | null>(null);
  const frame = useRef(0);

  const show = useCallback((next: Chat) => {
    newest.current = next;
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => setChat(newest.current));
  }, []);

  const reload = useCallback(async () => {
    if (chatId === null) return;
    try {
      show(await api.call("chats.get", { chatId }));
    } catch (error) {
      onError(toTarnError(error).message);
    }
  }, [api, chatId, onError, show]);

  useEffect(() => {
    newest.current = null;
    setChat(null);
    setProgress(null);
    void reload();
  }, [reload]);

  useApiEvent("message.delta", (delta) => {
    if (delta.chatId !== chatId || newest.current === null) return;
    const next = withDelta(newest.current, delta);
    if (next === null) void reload();
    else show(next);
  });
  useApiEvent("message.changed", ({ chatId: changed, message }) => {
    if (changed !== chatId) return;
    if (message.status !== "reading") setProgress(null);
    const next = newest.current === null ? null : withMessage(newest.current, message);
    if (next !== null) show(next);
    // Totals and siblings of the whole path may have changed with a finished or a new message.
    if (next === null || message.status !== "writing") void reload();
  });
  useApiEvent("chats.changed", () => {
    // Undone, or done in another window. While an answer is written, what was heard of it is ahead of the file.
    if (newest.current !== null && !newest.current.messages.some(isTransient)) void reload();
  });
  useApiEvent("message.progress", (next) => {
    if (next.chatId === chatId) setProgress(next);
  });

  return { chat: chat?.id === chatId ? chat : null, progress, reload, show };
}
