import { useCallback, useEffect, useMemo, useState } from "react";
import { Pin, PinOff, Trash2 } from "lucide-react";
import type { ChatTree, Message, TreeNode } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi, useApiEvent } from "../../client/context.tsx";
import { deleteBranch } from "../../client/delete-branch.ts";
import { Button } from "../../ui/Button.tsx";
import { formatBytes } from "../../ui/format.ts";
import { useToast } from "../../ui/toasts.tsx";
import { BranchTree } from "./BranchTree.tsx";
import { CompareAnswers } from "./CompareAnswers.tsx";
import { answersBeside, countBehind, countBranches, treeRows } from "./tree-rows.ts";

interface BranchesViewProps {
  readonly chatId: string;
  /** Shows the chat from the message on, in the conversation. */
  onOpen(): void;
}

const EMPTY: ChatTree = { nodes: [], tipId: null };

/** All branches of a chat, and the answers to one question side by side. */
export function BranchesView({ chatId, onOpen }: BranchesViewProps) {
  const api = useApi();
  const tell = useToast();
  const fail = useCallback(
    (error: unknown) => tell(toTarnError(error).message, { kind: "error" }),
    [tell],
  );
  const [tree, setTree] = useState<ChatTree>(EMPTY);
  const [focused, setFocused] = useState<string | null>(null);
  const [messages, setMessages] = useState<ReadonlyMap<string, Message>>(new Map());

  const reload = useCallback(async () => {
    try {
      setTree(await api.call("chats.tree", { chatId }));
    } catch (error) {
      fail(error);
    }
  }, [api, chatId, fail]);
  useEffect(() => {
    setTree(EMPTY);
    setFocused(null);
    setMessages(new Map());
    void reload();
  }, [reload]);

  const rows = useMemo(() => treeRows(tree.nodes, tree.tipId), [tree]);
  const path = useMemo(
    () => new Set(rows.flatMap(({ node, onPath }) => (onPath ? [node.id] : []))),
    [rows],
  );
  const at = focused ?? tree.tipId;
  const group = useMemo(() => (at === null ? null : answersBeside(tree.nodes, at)), [tree, at]);
  const ids = group?.answers
    .slice(-16)
    .map(({ id }) => id)
    .join(" ");

  useEffect(() => {
    if (ids === undefined || ids === "") return;
    let current = true;
    api.call("messages.get", { chatId, messageIds: ids.split(" ") }).then(
      (found) => current && setMessages(new Map(found.map((message) => [message.id, message]))),
      (error: unknown) => current && fail(error),
    );
    return () => {
      current = false;
    };
  }, [api, chatId, fail, ids]);

  // Undone, or done in another window.
  useApiEvent("chats.changed", () => void reload());
  useApiEvent("message.delta", (delta) => {
    if (delta.chatId !== chatId) return;
    setMessages((before) => {
      const message = before.get(delta.messageId);
      // What came before it was fetched is in it already; a gap is filled by the end.
      if (message === undefined || message.text.length !== delta.at) return before;
      return new Map(before).set(message.id, { ...message, text: message.text + delta.text });
    });
  });
  useApiEvent("message.changed", ({ chatId: changed, message }) => {
    if (changed !== chatId) return;
    setMessages((before) =>
      before.has(message.id) ? new Map(before).set(message.id, message) : before,
    );
    void reload();
  });

  const busy = tree.nodes.some(
    ({ status }) => status === "queued" || status === "reading" || status === "writing",
  );
  const chosen = tree.nodes.find(({ id }) => id === at);
  const behind = chosen === undefined ? 0 : countBehind(tree.nodes, chosen.id);
  const bytes = tree.nodes.reduce((sum, { snapshotBytes }) => sum + snapshotBytes, 0);

  async function attempt(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      fail(error);
      return false;
    }
  }
  async function goOnFrom(messageId: string): Promise<void> {
    if (await attempt(() => api.call("messages.select", { chatId, messageId, exact: true })))
      onOpen();
  }

  async function remove(messageId: string): Promise<void> {
    await attempt(async () => {
      const { chat } = await deleteBranch(api, chatId, messageId, tell, fail);
      setFocused(chat.messages.at(-1)?.id ?? null);
      await reload();
    });
  }
  async function keep({ id: messageId, isPinned }: TreeNode): Promise<void> {
    await attempt(() => api.call("messages.pinState", { chatId, messageId, pinned: !isPinned }));
    await reload();
  }

  return (
    <div className="branches">
      <section className="treep" aria-label="Branches">
        <div className="row" style={{ minHeight: 40, padding: "0 16px" }}>
          <h2 className="strong">{`${tree.nodes.length} messages, ${countBranches(rows)} ${countBranches(rows) === 1 ? "branch" : "branches"}`}</h2>
          <span className="small q end">{`${formatBytes(bytes)} of states`}</span>
        </div>
        <BranchTree
          rows={rows}
          focused={at}
          onFocus={setFocused}
          onOpen={(messageId) => void goOnFrom(messageId)}
          onDelete={(messageId) => void remove(messageId)}
        />
        {chosen !== undefined && (
          <div className="row tree-acts">
            <Button
              kind="ghost"
              icon={chosen.isPinned ? <PinOff className="i s" /> : <Pin className="i s" />}
              disabled={chosen.snapshotBytes === 0}
              onClick={() => void keep(chosen)}
            >
              {chosen.isPinned ? "Let this state go" : "Keep this state"}
            </Button>
            <Button
              kind="ghost"
              icon={<Trash2 className="i s" />}
              cost={`${behind} ${behind === 1 ? "message" : "messages"}`}
              onClick={() => void remove(chosen.id)}
            >
              Delete from here
            </Button>
          </div>
        )}
        <div className="row small q tree-legend">
          <span className="row" style={{ gap: 6 }}>
            <svg width="10" height="10" aria-hidden="true">
              <rect
                x="1"
                y="1"
                width="8"
                height="8"
                rx="2"
                fill="none"
                stroke="var(--ink-3)"
                strokeWidth="2"
              />
            </svg>
            You
          </span>
          <span className="row" style={{ gap: 6 }}>
            <svg width="10" height="10" aria-hidden="true">
              <circle cx="5" cy="5" r="4.5" fill="var(--ink-3)" />
            </svg>
            Assistant
          </span>
          <span className="end">Enter goes on, Delete takes out</span>
        </div>
      </section>
      {group === null ? (
        <p className="q" style={{ padding: 24 }}>
          Choose a question or an answer to see its answers side by side.
        </p>
      ) : (
        <CompareAnswers
          group={group}
          messages={messages}
          tipId={tree.tipId}
          path={path}
          busy={busy}
          onAgain={(count) => {
            const messageId = group.answers[0]?.id;
            if (messageId !== undefined)
              void attempt(() => api.call("messages.regenerateMany", { chatId, messageId, count }));
          }}
          onStop={() => void attempt(() => api.call("messages.stop", { chatId }))}
          onCopy={(text) =>
            void navigator.clipboard.writeText(text).then(() => tell("Copied."), fail)
          }
          onContinue={(messageId) => void goOnFrom(messageId)}
        />
      )}
    </div>
  );
}
