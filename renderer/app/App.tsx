import { useCallback, useEffect, useRef, useState } from "react";
import { PanelLeft } from "lucide-react";
import type {
  ChatSummary,
  DocumentInfo,
  ModelEntry,
  Persona,
  Settings,
} from "../../main/contract/dto.ts";
import { toTarnError } from "../client/check.ts";
import type { Client } from "../client/connect.ts";
import { useApi, useApiEvent, useApiValue } from "../client/context.tsx";
import { usePersonas } from "../client/use-personas.ts";
import { importDocument } from "../client/import-document.ts";
import { useRebuilds } from "../client/use-rebuilds.ts";
import { BranchesView } from "../features/branches/BranchesView.tsx";
import { ChatHeader } from "../features/chat/ChatHeader.tsx";
import { ChatView } from "../features/chat/ChatView.tsx";
import type { AttachedDocument } from "../features/chat/use-attachments.ts";
import { DocumentPanel, type OpenPlace } from "../features/documents/DocumentPanel.tsx";
import { DocumentsView } from "../features/documents/DocumentsView.tsx";
import { OpenMemory } from "../features/chat/OpenMemory.tsx";
import { useMemoryDrop } from "../features/chat/use-memory-drop.ts";
import { ModelsView } from "../features/models/ModelsView.tsx";
import { PersonasView } from "../features/personas/PersonasView.tsx";
import { SettingsView } from "../features/settings/SettingsView.tsx";
import { Sidebar, type Place } from "../features/sidebar/Sidebar.tsx";
import { StatusLine, type Link } from "../features/status/StatusLine.tsx";
import { IconButton } from "../ui/IconButton.tsx";
import { useToast } from "../ui/toasts.tsx";
import { useFileDrop } from "../ui/use-file-drop.ts";
import { useUndo } from "./use-undo.ts";

const TITLE = {
  chat: "New chat",
  documents: "Documents",
  personas: "Personas",
  models: "Models",
  settings: "Settings",
} as const satisfies Record<Place, string>;

const NO_PERSONAS: readonly Persona[] = [];

/** The whole window: sidebar, the place one is at, a document beside it, and the engine's line. */
export function App({ client }: { readonly client: Client }) {
  const api = useApi();
  const tell = useToast();
  const fail = useCallback(
    (error: unknown) =>
      tell(typeof error === "string" ? error : toTarnError(error).message, { kind: "error" }),
    [tell],
  );
  const [place, setPlace] = useState<Place>("chat");
  const [chatId, setChatId] = useState<string | null>(null);
  const [view, setView] = useState<"chat" | "branches">("chat");
  const [query, setQuery] = useState("");
  /** Where there is little room the sidebar is a drawer, closed at first; elsewhere it is shown until it is hidden. */
  const [sidebar, setSidebar] = useState<"usual" | "open" | "folded">("usual");
  const opener = useRef<HTMLElement | null>(null);
  const [openPlace, setOpenPlace] = useState<OpenPlace | null>(null);
  const [attached, setAttached] = useState<AttachedDocument | null>(null);
  const [personaId, setPersonaId] = useState<string | null>(null);
  const [link, setLink] = useState<Link>("connecting");

  const [chats, reloadChats] = useApiValue("chats.list", { query }, fail);
  const [documents, reloadDocuments] = useApiValue("documents.list", {}, fail);
  const [models, reloadModels] = useApiValue("models.list", {}, fail);
  const [settings, reloadSettings, takeSettings] = useApiValue("settings.get", {}, fail);
  const [status, reloadStatus, takeStatus] = useApiValue("engine.status", {}, fail);
  const [info] = useApiValue("app.info", {}, fail);

  useEffect(
    () =>
      client.onConnection((next) => {
        setLink((before) => {
          // What happened while there was no connection was not heard.
          if (next === "open" && before === "lost")
            for (const reload of [
              reloadChats,
              reloadDocuments,
              reloadModels,
              reloadSettings,
              reloadStatus,
            ])
              reload();
          return next;
        });
      }),
    [client, reloadChats, reloadDocuments, reloadModels, reloadSettings, reloadStatus],
  );
  const personas = usePersonas(fail);
  useApiEvent("chats.changed", reloadChats);
  useApiEvent("documents.changed", reloadDocuments);
  useApiEvent("settings.changed", takeSettings);
  useApiEvent("engine.status", takeStatus);
  useApiEvent("notice", ({ kind, text }) => tell(text, { kind }));

  const theme = settings?.theme;
  useEffect(() => {
    if (theme === undefined) return;
    if (theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
  }, [theme]);

  const chat = chats?.find(({ id }) => id === chatId);
  const title = place === "chat" ? (chat?.title ?? TITLE.chat) : TITLE[place];
  useEffect(() => {
    document.title = `${title} · Tarn`;
  }, [title]);

  const go = useCallback(
    (next: Place) => {
      // Chats have used them since.
      if (next === "documents") reloadDocuments();
      setPlace(next);
      setSidebar((before) => (before === "open" ? "usual" : before));
      if (next !== "chat") setOpenPlace(null);
    },
    [reloadDocuments],
  );
  const openChat = useCallback(
    (id: string | null) => {
      setChatId(id);
      setView("chat");
      setAttached(null);
      setPersonaId(null);
      setOpenPlace(null);
      go("chat");
    },
    [go],
  );
  useUndo(openChat);
  const [memoryFile, setMemoryFile] = useState<File | null>(null);
  useMemoryDrop(setMemoryFile);
  const openedMemory = useCallback(
    (id: string) => {
      setMemoryFile(null);
      openChat(id);
      tell("The chat goes on from the memory in the file.");
    },
    [openChat, tell],
  );
  const rebuilds = useRebuilds();
  const askDocument = useCallback(
    (document: DocumentInfo, asOf: number | null = null) => {
      openChat(null);
      setAttached({ document, asOf });
    },
    [openChat],
  );
  const openDocument = useCallback(
    (documentId: string, at: { page: number | null; start: number; end: number } | null) => {
      if (document.activeElement instanceof HTMLElement) opener.current = document.activeElement;
      setOpenPlace({ documentId, page: at?.page ?? null, mark: at });
    },
    [],
  );
  // Where nothing else takes them, dropped files go to the library.
  useFileDrop(
    place === "models" || place === "settings"
      ? (files) => {
          void addDocuments(files);
          go("documents");
        }
      : null,
  );
  const closeDocument = useCallback(() => {
    setOpenPlace(null);
    opener.current?.focus();
  }, []);

  useApiEvent("menu.command", ({ command }) => {
    switch (command) {
      case "new-chat":
        return openChat(null);
      case "settings":
        return go("settings");
      case "search":
        return document.querySelector<HTMLElement>("input[type=search]")?.focus();
    }
  });
  useEffect(() => {
    function onKey(event: KeyboardEvent): void {
      if (event.key === "Escape") setSidebar((before) => (before === "open" ? "usual" : before));
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      const act = {
        k: () => document.querySelector<HTMLElement>("input[type=search]")?.focus(),
        ",": () => go("settings"),
        n: () => openChat(null),
      }[event.key];
      if (act === undefined) return;
      event.preventDefault();
      act();
    }
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [go, openChat]);

  async function attempt(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      fail(error);
      return false;
    }
  }
  async function deleteChat(chat: ChatSummary): Promise<void> {
    if (!(await attempt(() => api.call("chats.delete", { chatId: chat.id })))) return;
    if (chat.id === chatId) openChat(null);
    reloadChats();
    tell(`“${chat.title}” was deleted.`, {
      action: {
        label: "Undo",
        run: () =>
          void attempt(() => api.call("chats.restore", { chatId: chat.id })).then(reloadChats),
      },
    });
  }
  async function pinChat(chat: ChatSummary): Promise<void> {
    await attempt(() => api.call("chats.pin", { chatId: chat.id, pinned: !chat.pinned }));
    reloadChats();
  }
  async function renameChat(chat: ChatSummary, next: string): Promise<void> {
    await attempt(() => api.call("chats.rename", { chatId: chat.id, title: next }));
    reloadChats();
  }
  async function addDocuments(files: readonly File[]): Promise<void> {
    for (const file of files) await attempt(() => importDocument(api, file));
    reloadDocuments();
  }
  async function removeDocument({ id, name }: DocumentInfo): Promise<void> {
    if (!(await attempt(() => api.call("documents.remove", { documentId: id })))) return;
    setOpenPlace(null);
    reloadDocuments();
    tell(`${name} was removed. Chats that read it keep what they remember.`);
  }
  async function switchModel({ id }: ModelEntry): Promise<void> {
    if (await attempt(() => api.call("models.use", { modelId: id }))) reloadModels();
  }
  async function addModel(path: string): Promise<boolean> {
    const added = await attempt(() => api.call("models.add", { path }));
    if (added) reloadModels();
    return added;
  }
  async function changeSettings(change: Partial<Settings>): Promise<void> {
    await attempt(() => api.call("settings.set", change));
    reloadSettings();
  }

  return (
    <div className={`app ${sidebar}`}>
      <a className="skip" href="#main">
        Skip to content
      </a>
      <Sidebar
        chats={chats ?? []}
        chatId={chatId}
        place={place}
        query={query}
        documentCount={documents?.length ?? null}
        onHide={() => setSidebar("folded")}
        onQuery={setQuery}
        onNewChat={() => openChat(null)}
        onOpenChat={openChat}
        onPlace={go}
        onDelete={(chat) => void deleteChat(chat)}
        onOpenMemory={setMemoryFile}
      />
      {memoryFile !== null && (
        <OpenMemory file={memoryFile} onOpened={openedMemory} onClose={() => setMemoryFile(null)} />
      )}
      {sidebar === "open" && (
        <button
          type="button"
          className="scrim only-n"
          aria-label="Close sidebar"
          onClick={() => setSidebar("usual")}
        />
      )}
      <main className="main" id="main" tabIndex={-1}>
        <header className={`bar ${place === "chat" || sidebar === "folded" ? "" : "only-n"}`}>
          <span className={sidebar === "folded" ? "" : "only-n"}>
            <IconButton
              label="Show sidebar"
              icon={<PanelLeft className="i s flip" />}
              onClick={() => setSidebar("open")}
            />
          </span>
          {place === "chat" && (
            <ChatHeader
              chat={chat}
              title={title}
              view={view}
              onView={setView}
              onRename={(next) => chat !== undefined && void renameChat(chat, next)}
              onPin={() => chat !== undefined && void pinChat(chat)}
              onDelete={() => chat !== undefined && void deleteChat(chat)}
            />
          )}
        </header>
        <div className="main-columns">
          {/* Hidden, not gone, while one looks elsewhere: what is being written in it stays. */}
          <div className={place === "chat" && view === "chat" ? "contents" : "hidden"}>
            <ChatView
              chatId={chatId}
              visible={place === "chat" && view === "chat"}
              status={status}
              announce={settings?.announce ?? "paragraphs"}
              attached={attached}
              personas={personas ?? NO_PERSONAS}
              personaId={personaId}
              onPersona={setPersonaId}
              active={place === "chat"}
              onOpenChat={openChat}
              openDocument={openDocument}
              rebuilds={rebuilds}
            />
          </div>
          {place === "chat" && view === "branches" && chatId !== null && (
            <BranchesView chatId={chatId} onOpen={() => setView("chat")} />
          )}
          {place === "documents" && (
            <DocumentsView
              documents={documents ?? []}
              onAdd={addDocuments}
              onAsk={askDocument}
              onOpen={(id) => openDocument(id, null)}
              onRemove={(document) => void removeDocument(document)}
            />
          )}
          {place === "personas" && (
            <PersonasView
              personas={personas}
              onChat={({ id }) => {
                openChat(null);
                setPersonaId(id);
              }}
            />
          )}
          {place === "models" && (
            <ModelsView
              models={models ?? []}
              modelId={status?.modelId ?? null}
              onUse={(model) => void switchModel(model)}
              onAdd={addModel}
            />
          )}
          {place === "settings" && settings !== null && (
            <SettingsView
              settings={settings}
              dataFolder={info?.dataFolder ?? null}
              onChange={(change) => void changeSettings(change)}
            />
          )}
          {openPlace !== null && (
            <DocumentPanel
              place={openPlace}
              document={documents?.find(({ id }) => id === openPlace.documentId)}
              onAsk={askDocument}
              onClose={closeDocument}
            />
          )}
        </div>
      </main>
      <StatusLine
        status={status}
        link={link}
        rebuilds={rebuilds}
        onPauseRebuilds={() => void attempt(() => api.call("chats.pauseRebuild", { chatId: null }))}
        onResumeRebuilds={() =>
          void attempt(async () => {
            for (const { chatId: waiting } of rebuilds)
              await api.call("chats.rebuild", { chatId: waiting });
          })
        }
      />
    </div>
  );
}
