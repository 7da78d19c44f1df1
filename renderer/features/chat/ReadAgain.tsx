import { Waves } from "lucide-react";
import type { ChatCosts, Cost } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
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
  /** An answer is being written, or the engine reads already. */
  readonly busy: boolean;
  onRead(): void;
}

/** Why the next turn has more to read than its own words, how much, and the offer to read it now. */
export function ReadAgain({ reason, cost, busy, onRead }: ReadAgainProps) {
  if (reason === null || cost === null || cost.tokens < WORTH_TELLING) return null;
  return (
    <div
      className="row small q"
      role="note"
      style={{
        width: "calc(100% - 48px)",
        maxWidth: "var(--w-read)",
        marginInline: "auto",
        marginBlockEnd: 8,
      }}
    >
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
