import { WifiOff } from "lucide-react";
import type { ChatRebuild, EngineStatus } from "../../../main/contract/dto.ts";
import {
  formatBytes,
  formatCount,
  formatGrowth,
  formatRate,
  formatSeconds,
  formatTokens,
} from "../../ui/format.ts";

export type Link = "connecting" | "open" | "lost" | "unauthorized";

interface StatusLineProps {
  readonly status: EngineStatus | null;
  readonly link: Link;
  /** Chats that are read again, or wait for it. */
  readonly rebuilds: readonly ChatRebuild[];
  onPauseRebuilds(): void;
  onResumeRebuilds(): void;
}

const PHASE = {
  starting: "Starting",
  loading: "Loading the model",
  ready: "Ready",
  reading: "Reading",
  writing: "Writing",
  rebuilding: "Rebuilding the state",
  failed: "The engine failed",
  "no-model": "No model",
} as const satisfies Record<EngineStatus["phase"], string>;

const DOT = {
  starting: "n",
  loading: "a",
  ready: "",
  reading: "a",
  writing: "a",
  rebuilding: "w",
  failed: "d",
  "no-model": "w",
} as const satisfies Record<EngineStatus["phase"], string>;

const BACKEND = { webgpu: "WebGPU", wasm: "CPU", reference: "Reference" } as const;

/** The engine in one line: condition, model, where it runs, how fast, and what it remembers with. */
export function StatusLine({
  status,
  link,
  rebuilds,
  onPauseRebuilds,
  onResumeRebuilds,
}: StatusLineProps) {
  const isPaused = rebuilds.every((one) => one.status === "paused");
  return (
    <>
      <div className="status" role="status" aria-live="off" aria-label="Engine">
        <span className="row">
          <i
            className={`dot ${link === "open" ? (status === null ? "n" : DOT[status.phase]) : "w"}`}
          />
          <span>{conditionOf(status, link)}</span>
        </span>
        {status !== null && status.modelName !== null && (
          <>
            <span className="sep" />
            <span>
              {status.modelName}
              {status.weights !== null && !status.modelName.includes(status.weights)
                ? `, ${status.weights}`
                : ""}
            </span>
          </>
        )}
        {status !== null && status.backend !== null && (
          <>
            <span className="sep hide-n" />
            <span className="hide-n">
              {BACKEND[status.backend]}
              {status.device !== null && `, ${status.device}`}
            </span>
          </>
        )}
        {status !== null && status.tokensPerSecond !== null && (
          <>
            <span className="sep" />
            <span>{formatRate(status.tokensPerSecond)}</span>
          </>
        )}
        {rebuilds.length > 0 && (
          <>
            <span className="sep" />
            <span>{progressOf(rebuilds)}</span>
            <button
              type="button"
              className="status-act"
              onClick={isPaused ? onResumeRebuilds : onPauseRebuilds}
            >
              {isPaused ? "Resume reading" : "Pause reading"}
            </button>
          </>
        )}
        <span className="end row">
          {status !== null && status.stateBytes !== null && (
            <span>{`State ${formatBytes(status.stateBytes)}, ${formatGrowth(status.stateBytesPerToken ?? 0)}`}</span>
          )}
          <span className="sep hide-n" />
          <span className="row hide-n" style={{ gap: 5 }}>
            <WifiOff className="i s" />
            No network
          </span>
        </span>
      </div>
      {/* Only changes of condition are spoken; the numbers above tick silently. */}
      <div className="sr" aria-live="polite">
        {conditionOf(status, link)}
      </div>
    </>
  );
}

/** "Reads 3 chats again, 1,200 of 4,800 tokens, 12 s left" of the one that is being read. */
function progressOf(rebuilds: readonly ChatRebuild[]): string {
  const chats = rebuilds.length === 1 ? "a chat" : `${rebuilds.length} chats`;
  const reading = rebuilds.find(({ status }) => status === "reading");
  if (reading === undefined) {
    const isPaused = rebuilds.every(({ status }) => status === "paused");
    return isPaused ? `Reading ${chats} again is paused` : `Reads ${chats} again soon`;
  }
  const { done, total, secondsLeft } = reading;
  const left = secondsLeft === null ? "" : `, ${formatSeconds(secondsLeft)} left`;
  return `Reads ${chats} again, ${formatCount(done)} of ${formatTokens(total)}${left}`;
}

function conditionOf(status: EngineStatus | null, link: Link): string {
  switch (link) {
    case "connecting":
      return "Connecting";
    case "lost":
      return "Tarn does not answer; trying again";
    case "unauthorized":
      return "Open the address that Tarn printed; this one has no valid token";
    case "open":
      if (status === null) return "Starting";
      return status.phase === "failed" && status.error !== null
        ? status.error.message
        : PHASE[status.phase];
  }
}
