import { useState } from "react";
import { Ellipsis, Pencil, Pin, PinOff, Trash2 } from "lucide-react";
import type { ChatSummary } from "../../../main/contract/dto.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { Menu } from "../../ui/Menu.tsx";
import { Segmented } from "../../ui/Segmented.tsx";

interface ChatHeaderProps {
  /** Undefined for a new chat that has no row yet. */
  readonly chat: ChatSummary | undefined;
  readonly title: string;
  readonly view: "chat" | "branches";
  onView(view: "chat" | "branches"): void;
  onRename(title: string): void;
  onPin(): void;
  onDelete(): void;
}

/** The chat's title and what can be done with the chat as a whole. */
export function ChatHeader({
  chat,
  title,
  view,
  onView,
  onRename,
  onPin,
  onDelete,
}: ChatHeaderProps) {
  const [draft, setDraft] = useState<{ readonly chatId: string; readonly title: string } | null>(
    null,
  );
  const renaming = draft !== null && draft.chatId === chat?.id;

  function save(): void {
    const next = draft?.title.trim() ?? "";
    if (renaming && next !== "" && next !== title) onRename(next);
    setDraft(null);
  }

  return (
    <>
      {renaming ? (
        <input
          className="title-box grow"
          aria-label="Title of this chat"
          dir="auto"
          maxLength={500}
          value={draft.title}
          ref={(box) => box?.focus()}
          onChange={({ target }) => setDraft({ ...draft, title: target.value })}
          onBlur={save}
          onKeyDown={(event) => {
            if (event.nativeEvent.isComposing) return;
            if (event.key === "Enter") save();
            if (event.key === "Escape") setDraft(null);
          }}
        />
      ) : (
        <h1 className="strong cut grow" style={{ fontSize: "var(--fs-body)" }} dir="auto">
          {title}
        </h1>
      )}
      {chat !== undefined && !renaming && (
        <Segmented
          label="View"
          value={view}
          options={{ chat: "Chat", branches: "Branches" }}
          onChange={onView}
        />
      )}
      {chat !== undefined && !renaming && (
        <Menu
          trigger={<IconButton label="More" icon={<Ellipsis className="i s" />} />}
          items={[
            {
              label: "Rename",
              icon: <Pencil className="i s" />,
              // After the menu gave the focus back to its button, or the box would lose it at once.
              run: () => setTimeout(() => setDraft({ chatId: chat.id, title })),
            },
            chat.pinned
              ? { label: "Unpin", icon: <PinOff className="i s" />, run: onPin }
              : { label: "Pin", icon: <Pin className="i s" />, run: onPin },
            {
              label: "Delete this chat",
              icon: <Trash2 className="i s" />,
              danger: true,
              run: onDelete,
            },
          ]}
        />
      )}
    </>
  );
}
