import { useRef } from "react";
import {
  Cpu,
  Files,
  FolderOpen,
  PanelLeft,
  Pin,
  Plus,
  Search,
  SlidersHorizontal,
  Trash2,
  UserRound,
} from "lucide-react";
import type { ChatSummary } from "../../../main/contract/dto.ts";
import { STATE_FILE_ENDING } from "../../client/state-files.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { Mark } from "../../ui/Mark.tsx";

export type Place = "chat" | "documents" | "personas" | "models" | "settings";

interface SidebarProps {
  readonly chats: readonly ChatSummary[];
  readonly chatId: string | null;
  readonly place: Place;
  readonly query: string;
  readonly documentCount: number | null;
  onHide(): void;
  onQuery(query: string): void;
  onNewChat(): void;
  onOpenChat(chatId: string): void;
  onPlace(place: Place): void;
  onDelete(chat: ChatSummary): void;
  /** A file with a memory was chosen. */
  onOpenMemory(file: File): void;
}

/** Where things are: new chat, search, places, chats. */
export function Sidebar(props: SidebarProps) {
  const {
    chats,
    chatId,
    place,
    query,
    documentCount,
    onHide,
    onQuery,
    onNewChat,
    onOpenChat,
    onPlace,
    onDelete,
    onOpenMemory,
  } = props;
  const chooser = useRef<HTMLInputElement>(null);
  const groups = [
    { title: "Pinned", chats: chats.filter(({ pinned }) => pinned) },
    { title: "Recent", chats: chats.filter(({ pinned }) => !pinned) },
  ].filter((group) => group.chats.length > 0);
  return (
    <aside className="side" aria-label="Sidebar">
      <div className="brand">
        <Mark size={20} />
        <span className="grow">Tarn</span>
        <IconButton
          label="Hide sidebar"
          icon={<PanelLeft className="i s flip" />}
          onClick={onHide}
        />
        <IconButton
          label="Open memory"
          icon={<FolderOpen className="i s" />}
          onClick={() => chooser.current?.click()}
        />
        <input
          ref={chooser}
          type="file"
          hidden
          accept={STATE_FILE_ENDING}
          aria-label="Memory file"
          onChange={({ target }) => {
            const file = target.files?.[0];
            target.value = "";
            if (file !== undefined) onOpenMemory(file);
          }}
        />
        <IconButton label="New chat" icon={<Plus className="i s" />} onClick={onNewChat} />
      </div>
      <label className="field sm">
        <Search className="i s" />
        <input
          type="search"
          placeholder="Search"
          aria-label="Search"
          value={query}
          onChange={(event) => onQuery(event.target.value)}
        />
        <kbd aria-hidden="true">Ctrl K</kbd>
      </label>
      <nav className="nav" aria-label="Places">
        <button
          type="button"
          aria-label="Documents"
          data-quiet={documentCount !== null && documentCount > 0 ? documentCount : undefined}
          className={place === "documents" ? "on" : ""}
          aria-current={place === "documents" ? "page" : undefined}
          onClick={() => onPlace("documents")}
        >
          <Files className="i" />
          <span>Documents</span>
        </button>
        <button
          type="button"
          aria-label="Personas"
          className={place === "personas" ? "on" : ""}
          aria-current={place === "personas" ? "page" : undefined}
          onClick={() => onPlace("personas")}
        >
          <UserRound className="i" />
          <span>Personas</span>
        </button>
        <button
          type="button"
          aria-label="Models"
          className={place === "models" ? "on" : ""}
          aria-current={place === "models" ? "page" : undefined}
          onClick={() => onPlace("models")}
        >
          <Cpu className="i" />
          <span>Models</span>
        </button>
      </nav>
      <div className="scroll" style={{ paddingBlockEnd: 8 }} tabIndex={-1}>
        {chats.length === 0 && (
          <p className="small qq" style={{ padding: 16 }}>
            {query === "" ? "Chats will be listed here." : "No chat has these words."}
          </p>
        )}
        <div role="list" aria-label="Chats">
          {groups.map((group) => (
            <div key={group.title} role="presentation">
              <div className="cap" role="presentation">
                {group.title}
              </div>
              <div className="nav" role="presentation">
                {group.chats.map((chat) => {
                  const on = place === "chat" && chat.id === chatId;
                  return (
                    <div key={chat.id} className="chat-item" role="listitem">
                      <button
                        type="button"
                        className={on ? "on" : ""}
                        aria-current={on ? "page" : undefined}
                        onClick={() => onOpenChat(chat.id)}
                      >
                        {chat.pinned && <Pin className="i s" />}
                        <span className="cut" dir="auto">
                          {chat.title}
                        </span>
                      </button>
                      <button
                        type="button"
                        className="remove"
                        aria-label={`Delete ${chat.title}`}
                        title="Delete"
                        onClick={() => onDelete(chat)}
                      >
                        <Trash2 className="i s" />
                      </button>
                    </div>
                  );
                })}
              </div>
            </div>
          ))}
        </div>
      </div>
      <div className="nav" style={{ padding: 8, borderBlockStart: "1px solid var(--line)" }}>
        <button
          type="button"
          aria-label="Settings"
          aria-keyshortcuts="Control+,"
          data-quiet="Ctrl ,"
          className={place === "settings" ? "on" : ""}
          aria-current={place === "settings" ? "page" : undefined}
          onClick={() => onPlace("settings")}
        >
          <SlidersHorizontal className="i" />
          <span>Settings</span>
        </button>
      </div>
    </aside>
  );
}
