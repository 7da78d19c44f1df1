import { useRef, useState, type KeyboardEvent } from "react";
import { Check, Copy, GitBranch, RotateCw } from "lucide-react";
import type { Message } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { formatBytes, formatRate, formatTokens } from "../../ui/format.ts";
import { Segmented } from "../../ui/Segmented.tsx";
import type { AnswerGroup } from "./tree-rows.ts";

/** Answers that fit on the screen, and get a digit each. */
const SHOWN = 8;
type Count = "2" | "4" | "8";
const COUNTS: Readonly<Record<Count, string>> = { "2": "2", "4": "4", "8": "8" };

interface CompareAnswersProps {
  readonly group: AnswerGroup;
  /** The answers with all their words, by id; missing while they are fetched. */
  readonly messages: ReadonlyMap<string, Message>;
  readonly tipId: string | null;
  /** Ids of messages on the path that is shown in the chat. */
  readonly path: ReadonlySet<string>;
  readonly busy: boolean;
  onAgain(count: number): void;
  onStop(): void;
  onCopy(text: string): void;
  onContinue(messageId: string): void;
}

/** Answers to one question side by side; any of them can be gone on from. */
export function CompareAnswers({
  group,
  messages,
  tipId,
  path,
  busy,
  onAgain,
  onStop,
  onCopy,
  onContinue,
}: CompareAnswersProps) {
  const [count, setCount] = useState<Count>("4");
  const grid = useRef<HTMLDivElement>(null);
  const shown = group.answers.slice(-SHOWN);
  const hidden = group.answers.length - shown.length;
  const rates = shown.flatMap(({ tokensPerSecond }) =>
    tokensPerSecond === null ? [] : [tokensPerSecond],
  );
  const bytes = shown.reduce((sum, { snapshotBytes }) => sum + snapshotBytes, 0);

  function onKeyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const cards = [...(grid.current?.querySelectorAll<HTMLElement>("article") ?? [])];
    if (/^[1-8]$/.test(event.key)) cards[Number(event.key) - 1]?.focus();
    else if (event.key === "Enter" && event.target instanceof HTMLElement) {
      const id = event.target.dataset["answer"];
      if (id !== undefined) onContinue(id);
    }
  }

  return (
    <section className="cmp" aria-label="Compare answers" onKeyDown={onKeyDown}>
      <div className="row" style={{ minHeight: 40, flex: "none", flexWrap: "wrap" }}>
        <span className="strong cut" dir="auto">
          {group.question?.excerpt ?? "Answers"}
        </span>
        <span className="small q">{`${group.answers.length} ${group.answers.length === 1 ? "answer" : "answers"}${hidden > 0 ? `, the newest ${SHOWN} are shown` : ""}`}</span>
        <span className="end row">
          <Segmented<Count> label="Answers" value={count} options={COUNTS} onChange={setCount} />
          {busy ? (
            <Button onClick={onStop}>Stop writing</Button>
          ) : (
            <Button
              icon={<RotateCw className="i s" />}
              cost="0 tokens to read"
              onClick={() => onAgain(Number(count))}
            >
              Answer again
            </Button>
          )}
        </span>
      </div>
      <div className={`cards n${shown.length}`} ref={grid}>
        {shown.map((answer, index) => {
          const message = messages.get(answer.id);
          const letter = String.fromCodePoint(65 + index);
          const writing = message?.status === "writing";
          return (
            <article
              key={answer.id}
              className={`card an ${path.has(answer.id) ? "kept" : ""}`}
              aria-label={`Answer ${letter}`}
              aria-busy={writing}
              tabIndex={-1}
              data-answer={answer.id}
            >
              <div className="row">
                <span className="strong">{letter}</span>
                <span className="small qq">{facts(answer.seed, message ?? answer)}</span>
                {path.has(answer.id) && (
                  <span className="tag a end">
                    <Check className="i s" />
                    {answer.id === tipId ? "Here" : "Continued"}
                  </span>
                )}
              </div>
              <div className={`an-text ${writing ? "caret" : ""}`} dir="auto">
                {message === undefined ? answer.excerpt : message.text}
              </div>
              <div className="acts">
                <Button
                  kind="ghost"
                  icon={<Copy className="i s" />}
                  onClick={() => onCopy(message?.text ?? answer.excerpt)}
                >
                  Copy
                </Button>
                <Button
                  kind="ghost"
                  icon={<GitBranch className="i s" />}
                  cost="0 tokens"
                  disabled={busy}
                  onClick={() => onContinue(answer.id)}
                >
                  Continue from here
                </Button>
              </div>
            </article>
          );
        })}
      </div>
      <div className="batch">
        <span className="strong">{`${shown.length} ${shown.length === 1 ? "answer" : "answers"}`}</span>
        {rates.length > 0 && (
          <span className="q">{`${formatRate(Math.min(...rates))} to ${formatRate(Math.max(...rates))} each`}</span>
        )}
        <span className="end q">{`${formatBytes(bytes)} of states`}</span>
      </div>
    </section>
  );
}

function facts(
  seed: number | null,
  { status, tokens }: { readonly status: Message["status"]; readonly tokens: number },
): string {
  const from = seed === null || seed === 0 ? [] : [`seed ${seed}`];
  switch (status) {
    case "queued":
      return [...from, "waits"].join(", ");
    case "reading":
      return [...from, "reading"].join(", ");
    case "writing":
      return [...from, "writing"].join(", ");
    case "stopped":
      return [...from, `stopped after ${formatTokens(tokens)}`].join(", ");
    case "failed":
      return [...from, "failed"].join(", ");
    case "done":
    case "length":
      return [...from, formatTokens(tokens)].join(", ");
  }
}
