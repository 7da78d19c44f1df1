import { useCallback, useEffect } from "react";
import { toTarnError } from "../client/check.ts";
import { useApi } from "../client/context.tsx";
import { useToast } from "../ui/toasts.tsx";

/** Where keys undo what was typed. */
const EDITABLE = "input, textarea, select, [contenteditable=true]";

/**
 * Ctrl Z takes back what was done to chats, Ctrl Shift Z and Ctrl Y do it again; what is typed is left alone.
 * @param openChat is called with the chat that changed, null where it is gone
 */
export function useUndo(openChat: (chatId: string | null) => void): void {
  const api = useApi();
  const tell = useToast();
  const run = useCallback(
    async (name: "history.undo" | "history.redo"): Promise<void> => {
      const [done, other] =
        name === "history.undo"
          ? (["undone", { label: "Redo", name: "history.redo" }] as const)
          : (["done again", { label: "Undo", name: "history.undo" }] as const);
      try {
        const change = await api.call(name, {});
        if (change === null)
          return tell(`There is nothing to ${name === "history.undo" ? "undo" : "redo"}.`);
        openChat(change.chatId);
        tell(`${change.what} ${done}.`, {
          action: { label: other.label, run: () => void run(other.name) },
        });
      } catch (error) {
        tell(toTarnError(error).message, { kind: "error" });
      }
    },
    [api, openChat, tell],
  );
  useEffect(() => {
    function onKey(event: KeyboardEvent): void {
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      if (event.target instanceof Element && event.target.closest(EDITABLE) !== null) return;
      event.preventDefault();
      void run(key === "z" && !event.shiftKey ? "history.undo" : "history.redo");
    }
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [run]);
}
