import {
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  type KeyboardEvent,
} from "react";
import { ArrowDown, UserRound } from "lucide-react";
import type {
  ChatRebuild,
  EngineStatus,
  Message,
  Persona,
  Settings,
} from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { deleteBranch } from "../../client/delete-branch.ts";
import { Button } from "../../ui/Button.tsx";
import { formatTokens } from "../../ui/format.ts";
import { useToast } from "../../ui/toasts.tsx";
import { SaveMemory } from "./SaveMemory.tsx";
import { Announcer } from "./Announcer.tsx";
import { AssistantMessage } from "./AssistantMessage.tsx";
import { isTransient } from "./chat-state.ts";
import { PersonaChoice } from "./PersonaChoice.tsx";
import { Composer, type Reading } from "./Composer.tsx";
import type { MessageActions } from "./message-actions.ts";
import { ReadAgain } from "./ReadAgain.tsx";
import type { AttachedDocument } from "./use-attachments.ts";
import { useChat } from "./use-chat.ts";
import { useCosts } from "./use-costs.ts";
import { UserMessage } from "./UserMessage.tsx";
import { WaterLevel } from "./WaterLevel.tsx";
import { Welcome } from "./Welcome.tsx";

interface ChatViewProps {
  /** Null is a new chat that has no row yet. */
  readonly chatId: string | null;
  /** False while one looks elsewhere: what was done to the chat there is asked for when one comes back. */
  readonly visible: boolean;
  readonly status: EngineStatus | null;
  readonly announce: Settings["announce"];
  /** A document of the library that a new chat begins with. */
  readonly attached: AttachedDocument | null;
  /** What a new chat can begin with, and what it does. */
  readonly personas: readonly Persona[];
  readonly personaId: string | null;
  onPersona(personaId: string | null): void;
  /** Whether it is on the screen. */
  readonly active: boolean;
  onOpenChat(chatId: string): void;
  openDocument: MessageActions["openDocument"];
  /** Chats that are read again. */
  readonly rebuilds: readonly ChatRebuild[];
}

/** Distance from the end at which reading still follows the writing, px. */
const FOLLOWS_WITHIN = 80;

/** One conversation: what was read, what was said, and the box for what comes next. */
export function ChatView({
  chatId,
  visible,
  status,
  announce,
  attached,
  personas,
  personaId,
  onPersona,
  active,
  onOpenChat,
  openDocument,
  rebuilds,
}: ChatViewProps) {
  const api = useApi();
  const tell = useToast();
  const fail = useCallback(
    (error: unknown) =>
      tell(typeof error === "string" ? error : toTarnError(error).message, { kind: "error" }),
    [tell],
  );
  const { chat, progress, reload, show } = useChat(chatId, fail);
  const costs = useCosts(chat, status);
  const [suggestion, setSuggestion] = useState<{ readonly text: string } | null>(null);
  /** The message whose memory is about to be saved. */
  const [saving, setSaving] = useState<string | null>(null);
  const log = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  const [behind, setBehind] = useState(false);

  const messages = chat?.messages ?? [];
  const persona = messages[0]?.persona ?? null;
  const shown = messages.filter(({ role }) => role === "user" || role === "assistant");
  const tip = shown.at(-1);
  const tipId = messages.at(-1)?.id;
  /** The answer that was asked for; busy until it is on the screen, so that Send never comes back in between. */
  const [awaited, setAwaited] = useState<{
    readonly chatId: string;
    readonly messageId: string;
  } | null>(null);
  const busy =
    shown.some(isTransient) ||
    (awaited !== null &&
      awaited.chatId === chatId &&
      !messages.some(({ id }) => id === awaited.messageId));
  useEffect(() => {
    // Once it was there, another branch may take its place.
    if (awaited !== null && chat?.messages.some(({ id }) => id === awaited.messageId) === true)
      setAwaited(null);
  }, [awaited, chat]);
  const lastUser = shown.findLast(({ role }) => role === "user");

  useEffect(() => {
    follows.current = true;
    setBehind(false);
  }, [chatId]);
  const wasVisible = useRef(visible);
  useEffect(() => {
    if (visible && !wasVisible.current) void reload();
    wasVisible.current = visible;
  }, [visible, reload]);
  useLayoutEffect(() => {
    const view = log.current;
    if (view === null) return;
    if (follows.current) view.scrollTop = view.scrollHeight;
    else if (busy) setBehind(true);
  }, [chat, progress, busy, costs.reason]);

  const send = useCallback(
    async (
      text: string,
      documents: readonly AttachedDocument[],
      reading: Reading,
    ): Promise<boolean> => {
      try {
        const target = chatId ?? (await api.call("chats.create", {})).id;
        follows.current = true;
        // Also where nothing of it is shown: a persona, or what was read elsewhere.
        const parentId = chatId === null ? null : (tipId ?? null);
        const sent = await api.call("messages.send", {
          chatId: target,
          parentId,
          text,
          documentIds: documents.map(({ document }) => document.id),
          reading,
          ...asOfPage(documents),
          ...(chatId === null && personaId !== null ? { personaId } : {}),
        });
        setAwaited({ chatId: target, messageId: sent.assistantMessageId });
        if (chatId === null) onOpenChat(target);
        else await reload();
        return true;
      } catch (error) {
        fail(error);
        return false;
      }
    },
    [api, chatId, fail, onOpenChat, personaId, reload, tipId],
  );

  const actions = useMemo<MessageActions>(() => {
    const inChat = async (work: (chatId: string) => Promise<void>): Promise<boolean> => {
      if (chatId === null) return false;
      try {
        await work(chatId);
        return true;
      } catch (error) {
        fail(error);
        return false;
      }
    };
    return {
      copy: (text) => void navigator.clipboard.writeText(text).then(() => tell("Copied."), fail),
      edit: (message, text) =>
        inChat(async (id) => {
          const { assistantMessageId } = await api.call("messages.edit", {
            chatId: id,
            messageId: message.id,
            text,
          });
          setAwaited({ chatId: id, messageId: assistantMessageId });
          await reload();
        }),
      regenerate: (message) =>
        void inChat(async (id) => {
          const { assistantMessageId } = await api.call("messages.regenerate", {
            chatId: id,
            messageId: message.id,
          });
          setAwaited({ chatId: id, messageId: assistantMessageId });
          await reload();
        }),
      fork: (message) =>
        void inChat(async (id) => {
          onOpenChat(
            (await api.call("messages.fork", { chatId: id, messageId: message.id })).chatId,
          );
          tell("This is a new chat that begins with everything up to here. 0 tokens were read.");
        }),
      select: (messageId) =>
        void inChat(async (id) =>
          show(await api.call("messages.select", { chatId: id, messageId })),
        ),
      keepState: ({ id: messageId }, pinned) =>
        void inChat(async (id) => {
          await api.call("messages.pinState", { chatId: id, messageId, pinned });
          tell(
            pinned
              ? "The state behind this message is kept: it is the last to go when there is no room."
              : "The state behind this message may go when there is no room.",
          );
        }),
      saveMemory: ({ id }) => setSaving(id),
      deleteFrom: (messageId) =>
        void inChat(async (id) => {
          const gone = await deleteBranch(api, id, messageId, tell, fail);
          show(gone.chat);
        }),
      openDocument,
    };
  }, [api, chatId, fail, onOpenChat, openDocument, reload, show, tell]);

  function onKeyDown(event: KeyboardEvent): void {
    const focused = event.target instanceof HTMLElement ? event.target.dataset["message"] : null;
    if (event.key === "Delete" && focused !== null && focused !== undefined)
      return actions.deleteFrom(focused);
    if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    const articles = [...(log.current?.querySelectorAll<HTMLElement>("article") ?? [])];
    const at = articles.findIndex((article) => article.contains(document.activeElement));
    const next = articles.at(
      event.key === "ArrowUp" ? (at === -1 ? -1 : Math.max(0, at - 1)) : at + 1,
    );
    if (next === undefined) return;
    event.preventDefault();
    next.focus();
  }

  function toEnd(): void {
    follows.current = true;
    setBehind(false);
    if (log.current !== null) log.current.scrollTop = log.current.scrollHeight;
  }

  return (
    <div className="column" onKeyDown={onKeyDown}>
      <WaterLevel
        chat={chat}
        stateBytes={status?.stateBytes ?? null}
        stateBytesPerToken={status?.stateBytesPerToken ?? 0}
      />
      <div
        className="scroll flex flex-col"
        ref={log}
        tabIndex={-1}
        onScroll={({ currentTarget: view }) => {
          follows.current = view.scrollHeight - view.scrollTop - view.clientHeight < FOLLOWS_WITHIN;
          if (follows.current) setBehind(false);
        }}
      >
        {shown.length === 0 && chatId === null && (
          <Welcome
            status={status}
            onTry={(text) => setSuggestion({ text })}
            onChooseFile={() =>
              document.querySelector<HTMLElement>("button[aria-label=Attach]")?.click()
            }
          />
        )}
        <div className="conv w-full" role="log" aria-label="Conversation" aria-live="off">
          {persona !== null && (
            <p className="small q row" role="note" style={{ gap: 6 }}>
              <UserRound className="i s" />
              <span dir="auto">{`Begins with the persona ${persona.name}, ${formatTokens(messages[0]?.tokens ?? 0)} that were read before.`}</span>
            </p>
          )}
          {messages.some(isSealed) && (
            <p className="small q" role="note">
              {`This chat goes on from a memory of ${formatTokens(chat?.messages[0]?.tokens ?? 0)} that was opened from a file. Its words are not in the file.`}
            </p>
          )}
          {shown.map((message) =>
            message.role === "user" ? (
              <UserMessage
                key={message.id}
                message={message}
                last={message.id === lastUser?.id}
                busy={busy}
                costs={costs.of(message.id)}
                actions={actions}
              />
            ) : (
              <AssistantMessage
                key={message.id}
                chatId={chatId}
                message={message}
                question={messages.find(({ id }) => id === message.parentId)?.text ?? ""}
                asOf={asOfFor(message, messages)}
                passages={passagesFor(message, messages)}
                progress={progress?.messageId === message.id ? progress : null}
                last={message.id === tip?.id}
                busy={busy}
                costs={costs.of(message.id)}
                actions={actions}
              />
            ),
          )}
        </div>
      </div>
      {behind && (
        <div className="row justify-center" style={{ marginBlock: -36 + 4, zIndex: 1 }}>
          <Button icon={<ArrowDown className="i s" />} onClick={toEnd}>
            Newest
          </Button>
        </div>
      )}
      <Announcer answer={tip?.role === "assistant" ? tip : undefined} announce={announce} />
      <ReadAgain
        reason={costs.reason}
        cost={costs.end}
        rebuild={rebuilds.find((one) => one.chatId === chatId) ?? null}
        busy={busy}
        onRead={() => chatId !== null && void api.call("chats.rebuild", { chatId }).catch(fail)}
        onPause={() => void api.call("chats.pauseRebuild", { chatId }).catch(fail)}
        onStop={() => void api.call("chats.stopRebuild", { chatId }).catch(fail)}
      />
      {saving !== null && chatId !== null && (
        <SaveMemory
          chatId={chatId}
          messageId={saving}
          cost={costs.of(saving)?.behind}
          onClose={() => setSaving(null)}
        />
      )}
      {chatId === null && personas.length > 0 && (
        <PersonaChoice personas={personas} personaId={personaId} onChoose={onPersona} />
      )}
      <Composer
        modelName={status?.modelName ?? null}
        active={active}
        busy={busy}
        suggestion={suggestion}
        attached={attached}
        onSend={send}
        onStop={() => chatId !== null && void api.call("messages.stop", { chatId }).catch(fail)}
        onEditLast={() =>
          log.current
            ?.querySelector<HTMLElement>(`[data-message="${lastUser?.id ?? ""}"] .acts button`)
            ?.click()
        }
      />
    </div>
  );
}

/** Whether it stands for what was read elsewhere, without its words. */
function isSealed({ role, text, persona }: Message): boolean {
  return role === "system" && text === "" && persona === null;
}

const NONE: Message["passages"] = [];

function passagesFor(answer: Message, messages: readonly Message[]): Message["passages"] {
  return messages.find(({ id }) => id === answer.parentId)?.passages ?? NONE;
}

/** The page up to which a document is looked at, where it is the only one. */
/** How far the document was looked at that an answer is about: the last such choice before it holds on. */
function asOfFor({ id }: Message, messages: readonly Message[]): string | null {
  const before = messages.slice(
    0,
    messages.findIndex((message) => message.id === id),
  );
  return before.flatMap(({ documents }) => documents).at(-1)?.asOf ?? null;
}

function asOfPage(documents: readonly AttachedDocument[]): { readonly asOf?: number } {
  const [first, ...others] = documents;
  return first === undefined || first.asOf === null || others.length > 0
    ? {}
    : { asOf: first.asOf };
}
