import { memo, useState } from "react";
import { Copy, FileText, GitBranch, Pencil } from "lucide-react";
import type { Message } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { MessageMenu } from "./MessageMenu.tsx";
import type { MessageActions } from "./message-actions.ts";
import { formatCost, type MessageCosts } from "./use-costs.ts";
import { Versions } from "./Versions.tsx";

interface UserMessageProps {
  readonly message: Message;
  /** Its actions are shown without pointing at it. */
  readonly last: boolean;
  /** An answer is being written: what would change the chat waits. */
  readonly busy: boolean;
  /** Undefined while they are not known. */
  readonly costs: MessageCosts | undefined;
  readonly actions: MessageActions;
}

/** What the user said, and the way to say it differently. */
export const UserMessage = memo(function UserMessage({
  message,
  last,
  busy,
  costs,
  actions,
}: UserMessageProps) {
  const [draft, setDraft] = useState<string | null>(null);

  async function save(): Promise<void> {
    if (draft === null || draft.trim() === "") return;
    if (await actions.edit(message, draft)) setDraft(null);
  }

  return (
    <article
      className={`msg-frame ${last ? "last" : ""}`}
      aria-label="You"
      tabIndex={-1}
      data-message={message.id}
      style={{ marginBlockStart: 16 }}
    >
      {draft === null ? (
        <div className="msg you" dir="auto">
          {message.documents.length > 0 && (
            <div className="row mb-1" style={{ flexWrap: "wrap" }}>
              {message.documents.map(({ id, name, asOf }) => (
                <button
                  key={id}
                  type="button"
                  className="chip"
                  onClick={() => actions.openDocument(id, null)}
                >
                  <FileText className="i s" />
                  <span className="cut">
                    <b>{name}</b>
                    {asOf !== null && `, as of ${asOf}`}
                  </span>
                </button>
              ))}
            </div>
          )}
          <p>{message.text}</p>
        </div>
      ) : (
        <form
          className="composer"
          style={{ width: "100%" }}
          onSubmit={(event) => {
            event.preventDefault();
            void save();
          }}
        >
          <textarea
            aria-label="Edit message"
            value={draft}
            rows={3}
            dir="auto"
            ref={(box) => box?.focus()}
            onChange={(event) => setDraft(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === "Escape") setDraft(null);
              if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
                event.preventDefault();
                void save();
              }
            }}
          />
          <div className="row">
            <span className="small q grow">
              {`The old version stays as another branch.${costs === undefined || costs.before.tokens === 0 ? "" : ` ${formatCost(costs.before)} to read again first.`}`}
            </span>
            <Button kind="ghost" onClick={() => setDraft(null)}>
              Cancel
            </Button>
            <Button kind="primary" type="submit" disabled={draft.trim() === "" || busy}>
              Save and ask
            </Button>
          </div>
        </form>
      )}
      {draft === null && (
        <div className="acts justify-end" style={{ marginInlineEnd: -8 }}>
          {!last && (
            <Button
              kind="ghost"
              icon={<Copy className="i s" />}
              onClick={() => actions.copy(message.text)}
            >
              Copy
            </Button>
          )}
          <Button
            kind="ghost"
            icon={<Pencil className="i s" />}
            disabled={busy}
            onClick={() => setDraft(message.text)}
          >
            Edit
          </Button>
          {!last && (
            <Button
              kind="ghost"
              icon={<GitBranch className="i s" />}
              {...(costs === undefined ? {} : { cost: formatCost(costs.behind) })}
              onClick={() => actions.fork(message)}
            >
              Fork from here
            </Button>
          )}
          <MessageMenu message={message} costs={costs} actions={actions} />
          <Versions message={message} noun="message" onSelect={actions.select} />
        </div>
      )}
    </article>
  );
});
