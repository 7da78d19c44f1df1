import { ChevronRight, FileText, Hash, Lock, MessageCircle, type LucideIcon } from "lucide-react";
import type { EngineStatus } from "../../../main/contract/dto.ts";
import { formatBytes, formatGrowth } from "../../ui/format.ts";
import { Mark } from "../../ui/Mark.tsx";

interface WelcomeProps {
  readonly status: EngineStatus | null;
  onTry(text: string): void;
  onChooseFile(): void;
}

/** What the model that ships can really do; see its card in resources/models. */
const PROMPTS: readonly {
  readonly icon: LucideIcon;
  readonly title: string;
  readonly text: string;
}[] = [
  { icon: MessageCircle, title: "Get to know it", text: "What can you do?" },
  { icon: Hash, title: "A small sum", text: "What is 7 + 5?" },
];

/** The empty chat: what this is, and ways to begin. */
export function Welcome({ status, onTry, onChooseFile }: WelcomeProps) {
  return (
    <div className="welcome">
      <Mark size={44} />
      <h1>Ask anything, or give it something long to read.</h1>
      <p className="q" style={{ fontSize: "var(--fs-body)", lineHeight: "var(--lh-body)" }}>
        Tarn remembers a conversation in the same few megabytes, however long it is, and goes on
        from there without reading it again.
      </p>
      <div className="suggestions">
        <button type="button" className="card suggestion" onClick={onChooseFile}>
          <FileText className="i" />
          <span className="strong" style={{ fontSize: "var(--fs-body)" }}>
            Ask about a document
          </span>
          <span className="q grow">
            A PDF, a web page or a text. The passages that were found are shown beside the answer.
          </span>
          <span className="acc med row" style={{ gap: 4 }}>
            Choose a file
            <ChevronRight className="i s flip" />
          </span>
        </button>
        {PROMPTS.map(({ icon: Icon, title, text }) => (
          <button key={title} type="button" className="card suggestion" onClick={() => onTry(text)}>
            <Icon className="i" />
            <span className="strong" style={{ fontSize: "var(--fs-body)" }}>
              {title}
            </span>
            <span className="q grow">{`“${text}”`}</span>
            <span className="acc med row" style={{ gap: 4 }}>
              Use this
              <ChevronRight className="i s flip" />
            </span>
          </button>
        ))}
      </div>
      <p className="row small q" style={{ alignItems: "flex-start" }}>
        <Lock className="i s" style={{ marginBlockStart: 2 }} />
        <span>
          <span className="med" style={{ color: "var(--ink)" }}>
            Everything stays on this computer.
          </span>{" "}
          No account, no network, no telemetry.
          {status?.modelName !== null && status?.modelName !== undefined && (
            <>
              {" "}
              {status.modelName} is a small model: it finds marked facts and remembers this chat,
              and it makes mistakes. Check what it says.
              {status.stateBytes !== null &&
                ` Its memory is ${formatBytes(status.stateBytes)}, ${formatGrowth(status.stateBytesPerToken ?? 0)}.`}
            </>
          )}
        </span>
      </p>
    </div>
  );
}
