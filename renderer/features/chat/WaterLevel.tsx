import type { Chat } from "../../../main/contract/dto.ts";
import { formatBytes, formatCount, formatGrowth } from "../../ui/format.ts";

interface WaterLevelProps {
  readonly chat: Chat | null;
  /** Bytes of the model's state before anything was read. */
  readonly stateBytes: number | null;
  /** What each token adds; 0 of a model whose state is the same however much was read. */
  readonly stateBytesPerToken: number;
}

/** A flat line over everything that was read. Widths are ordered, not to scale. */
export function WaterLevel({ chat, stateBytes, stateBytesPerToken }: WaterLevelProps) {
  const read = chat?.tokensRead ?? 0;
  const bytes = stateBytes === null ? null : stateBytes + read * stateBytesPerToken;
  const growth = formatGrowth(stateBytesPerToken);
  // The question about a document that was read whole carries its name too; the line says it once.
  const readWhole = new Set(
    chat?.messages.filter(({ role }) => role === "document").map(({ id }) => id),
  );
  const parts = (chat?.messages ?? []).filter(({ tokens }) => tokens > 0);
  const size = bytes === null ? "State" : `State ${formatBytes(bytes)}, ${growth}`;
  return (
    <div className="level" role="img" aria-label={`${size}, after ${formatCount(read)} tokens`}>
      <span className="row" style={{ gap: 6 }}>
        <svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">
          <path
            d="M1 7c2-1.5 4-1.5 6 0s4 1.5 6 0"
            fill="none"
            stroke="var(--accent)"
            strokeWidth="1.6"
            strokeLinecap="round"
          />
        </svg>
        {bytes !== null && (
          <span className="strong" style={{ color: "var(--ink)" }}>
            {formatBytes(bytes)}
          </span>
        )}
        <span>{growth}</span>
      </span>
      <span className="lv">
        {parts.map(({ id, role, tokens, documents, parentId }) => (
          <span key={id} style={{ flexGrow: Math.sqrt(tokens) }}>
            {documents.length > 0 && !(parentId !== null && readWhole.has(parentId)) && (
              <b>
                {documents.map(({ name }) => name).join(", ")}
                <em>{formatCount(tokens)}</em>
              </b>
            )}
            {documents.length === 0 && role === "user" && tokens > 200 && (
              <b>
                <em>{formatCount(tokens)}</em>
              </b>
            )}
          </span>
        ))}
      </span>
      <span>
        <span className="strong" style={{ color: "var(--ink)" }}>
          {formatCount(read)}
        </span>{" "}
        tokens read
      </span>
    </div>
  );
}
