import { Pause, Play, Waves, X } from "lucide-react";
import type { ChatCosts, ChatRebuild, Cost } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { formatCount, formatRate, formatSeconds, formatTokens } from "../../ui/format.ts";
import { formatCost } from "./use-costs.ts";

/** Below so many tokens the next turn reads them in a moment: nothing to decide. */
const WORTH_TELLING = 512;

const REASONS: Readonly<Record<NonNullable<ChatCosts["reason"]>, string>> = {
  "other-model":
    "This chat's memory is from another model. It is kept, and not used: this model reads the words again.",
  "older-version":
    "This chat's memory is from an older version. It is read again in the background.",
  "not-stored": "This chat's memory is not stored up to here. It is read again from its words.",
};

interface ReadAgainProps {
  readonly reason: ChatCosts["reason"];
  readonly cost: Cost | null;
  /** Where it is being read, or waits for it. */
  readonly rebuild: ChatRebuild | null;
  /** An answer is being written. */
  readonly busy: boolean;
  onRead(): void;
  onPause(): void;
  onStop(): void;
}

/** Why the next turn has more to read than its own words, how much, and the offer to read it now; then how far that is. */
export function ReadAgain({
  reason,
  cost,
  rebuild,
  busy,
  onRead,
  onPause,
  onStop,
}: ReadAgainProps) {
  if (rebuild !== null)
    return <Reading rebuild={rebuild} onRead={onRead} onPause={onPause} onStop={onStop} />;
  if (reason === null || cost === null || cost.tokens < WORTH_TELLING) return null;
  return (
    <div className="read-again row small q" role="note">
      <span className="grow">{REASONS[reason]} You can type now.</span>
      <Button
        kind="ghost"
        icon={<Waves className="i s" />}
        cost={formatCost(cost)}
        disabled={busy}
        onClick={onRead}
      >
        Read it now
      </Button>
    </div>
  );
}

function Reading({
  rebuild,
  onRead,
  onPause,
  onStop,
}: { readonly rebuild: ChatRebuild } & Pick<ReadAgainProps, "onRead" | "onPause" | "onStop">) {
  const { status, done, total } = rebuild;
  const isPaused = status === "paused";
  return (
    <section className="read-again small q" aria-label="Reading this chat again">
      <div className="row">
        <span className="grow">{wordsFor(rebuild)}</span>
        <Button
          kind="ghost"
          icon={isPaused ? <Play className="i s" /> : <Pause className="i s" />}
          onClick={isPaused ? onRead : onPause}
        >
          {isPaused ? "Resume" : "Pause"}
        </Button>
        <Button kind="ghost" icon={<X className="i s" />} onClick={onStop}>
          Stop reading
        </Button>
      </div>
      <div
        className="meter"
        role="progressbar"
        aria-label="Read again"
        aria-valuemin={0}
        aria-valuemax={Math.max(total, 1)}
        aria-valuenow={done}
      >
        <i
          className={isPaused ? "n" : ""}
          style={{ width: `${(100 * done) / Math.max(total, 1)}%` }}
        />
      </div>
    </section>
  );
}

/** "Read 1,200 of 4,800 tokens again, 310 tokens/s, about 12 s left" */
export function wordsFor({
  status,
  done,
  total,
  tokensPerSecond,
  secondsLeft,
}: ChatRebuild): string {
  if (total === 0)
    return status === "paused" ? "Paused before it began." : "Waits to be read again.";
  const sofar = `${formatCount(done)} of ${formatTokens(total)}`;
  if (status === "paused") return `Paused at ${sofar}; what was read is kept.`;
  if (status === "waiting") return `Waits at ${sofar}.`;
  const speed = tokensPerSecond === null ? "" : `, ${formatRate(tokensPerSecond)}`;
  const left = secondsLeft === null ? "" : `, about ${formatSeconds(secondsLeft)} left`;
  return `Read ${sofar} again${speed}${left}. You can type now.`;
}
