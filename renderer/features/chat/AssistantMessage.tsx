import { memo, useState } from "react";
import { Copy, GitBranch, RotateCw } from "lucide-react";
import type { Message, Passage, ReadingProgress } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { formatCount, formatRate, formatSeconds, formatTokens } from "../../ui/format.ts";
import { Mark } from "../../ui/Mark.tsx";
import { isTransient } from "./chat-state.ts";
import { GroundsLine } from "./GroundsLine.tsx";
import { Markdown } from "./Markdown.tsx";
import { MessageMenu } from "./MessageMenu.tsx";
import type { MessageActions } from "./message-actions.ts";
import { Passages } from "./Passages.tsx";
import { ProvenancePanel } from "./Provenance.tsx";
import { formatCost, type MessageCosts } from "./use-costs.ts";
import { Versions } from "./Versions.tsx";

/** Fewer tokens than this are read without a progress bar. */
const WORTH_A_BAR = 256;

interface AssistantMessageProps {
  /** Null while the chat has no row yet. */
  readonly chatId: string | null;
  readonly message: Message;
  /** What this answers, and what was found for it. */
  readonly question: string;
  readonly passages: readonly Passage[];
  /** "page 12" where no more of the document was looked at. */
  readonly asOf: string | null;
  readonly progress: ReadingProgress | null;
  readonly last: boolean;
  readonly busy: boolean;
  /** Undefined while they are not known. */
  readonly costs: MessageCosts | undefined;
  readonly actions: MessageActions;
}

/** An answer: its text while it is written, how it came about, and what can be done with it. */
export const AssistantMessage = memo(function AssistantMessage({
  chatId,
  message,
  question,
  passages,
  asOf,
  progress,
  last,
  busy,
  costs,
  actions,
}: AssistantMessageProps) {
  const { siblings, status } = message;
  const writing = status === "writing";
  const [asked, setAsked] = useState(false);
  // What the answer stands on is shown once, in its line.
  const others = passages.filter((one) => !message.passages.some((cited) => meet(one, cited)));
  return (
    <article
      className={`msg-frame ${last ? "last" : ""}`}
      aria-label="Assistant"
      aria-busy={isTransient(message)}
      tabIndex={-1}
      data-message={message.id}
      data-prefilled={message.prefilled ?? undefined}
    >
      <div className="who">
        <Mark size={16} />
        <span>Assistant</span>
        {siblings.length > 1 && (
          <span className="small qq">{`answer ${siblings.indexOf(message.id) + 1} of ${siblings.length}`}</span>
        )}
        {asOf !== null && <span className="small qq">{`as of ${asOf}`}</span>}
        {message.sampler !== null && message.sampler.temperature > 0 && (
          <span className="small qq">{`temperature ${message.sampler.temperature}`}</span>
        )}
      </div>
      <div className={`md ${writing ? "caret" : ""}`} dir="auto">
        <Markdown text={message.text} />
      </div>
      <State message={message} progress={progress} />
      {message.grounds !== null && !isTransient(message) && (
        <GroundsLine
          grounds={message.grounds}
          cited={message.passages}
          onOpen={({ documentId, page, start, end }) =>
            actions.openDocument(documentId, { page, start, end })
          }
        />
      )}
      {others.length > 0 && (
        <Passages
          passages={others}
          question={question}
          onOpen={({ documentId, page, start, end }) =>
            actions.openDocument(documentId, { page, start, end })
          }
        />
      )}
      {!isTransient(message) && (
        <div className="acts">
          <Button
            kind="ghost"
            icon={<Copy className="i s" />}
            onClick={() => actions.copy(message.text)}
          >
            Copy
          </Button>
          {last && (
            <Button
              kind="ghost"
              icon={<RotateCw className="i s" />}
              {...(costs === undefined ? {} : { cost: formatCost(costs.before) })}
              disabled={busy}
              onClick={() => actions.regenerate(message)}
            >
              Regenerate
            </Button>
          )}
          <Button
            kind="ghost"
            icon={<GitBranch className="i s" />}
            {...(costs === undefined ? {} : { cost: formatCost(costs.behind) })}
            onClick={() => actions.fork(message)}
          >
            Fork from here
          </Button>
          <MessageMenu
            message={message}
            costs={costs}
            actions={actions}
            onProvenance={() => setAsked(true)}
          />
          <Versions message={message} noun="answer" onSelect={actions.select} />
        </div>
      )}
      {asked && chatId !== null && !isTransient(message) && (
        <ProvenancePanel chatId={chatId} messageId={message.id} onClose={() => setAsked(false)} />
      )}
    </article>
  );
});

function meet(one: Passage, other: Passage): boolean {
  return one.documentId === other.documentId && one.start < other.end && other.start < one.end;
}

function State({
  message,
  progress,
}: {
  readonly message: Message;
  readonly progress: ReadingProgress | null;
}) {
  switch (message.status) {
    case "queued":
      return <p className="small q">Waits for the engine.</p>;
    case "reading":
      // A bar for what is over in a moment would only flicker.
      return progress === null || progress.total < WORTH_A_BAR ? (
        <p className="small q">Reading.</p>
      ) : (
        <div style={{ maxWidth: 420 }}>
          <div
            className="meter"
            role="progressbar"
            aria-label="Reading"
            aria-valuemin={0}
            aria-valuemax={progress.total}
            aria-valuenow={progress.done}
          >
            <i style={{ width: `${(100 * progress.done) / Math.max(1, progress.total)}%` }} />
          </div>
          <p className="small q mt-1">
            {`Read ${formatCount(progress.done)} of ${formatTokens(progress.total)}, ${formatRate(progress.tokensPerSecond)}${progress.secondsLeft < 1 ? "" : `, about ${formatSeconds(progress.secondsLeft)} left`}`}
          </p>
        </div>
      );
    case "writing":
      return message.text === "" ? <p className="sr">Writing</p> : null;
    case "stopped":
      return <p className="small q">{`Stopped after ${formatTokens(message.tokens)}.`}</p>;
    case "length":
      return (
        <p className="small q">{`Ended at the limit of ${formatTokens(message.tokens)}. Settings has a larger one.`}</p>
      );
    case "failed":
      return (
        <p className="small danger" role="alert">
          {message.error?.message ?? "The answer failed. What you wrote is kept."}
        </p>
      );
    case "done":
      return null;
  }
}
