/** What is known of a chat that is read again. */
import type { SessionId } from "../../../models/engine/protocol.ts";
import type { ChatRebuild } from "../../contract/dto.ts";
import type { RebuildRecord } from "../../store/records.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Step } from "./read-path.ts";

/** Where a reading stands that was begun. */
export interface Place {
  readonly model: LoadedModel;
  readonly session: SessionId;
  readonly steps: readonly Step[];
  /** Messages whose states are there and of no use. */
  readonly useless: ReadonlySet<string>;
  /** The step that is being read, and how many of its ids were. */
  index: number;
  at: number;
}

/** A chat that is read again, or waits for it. */
export interface Job {
  readonly id: string;
  readonly chatId: string;
  /** In which its kept state stands. */
  messageId: string | null;
  /** ms since 1970. */
  readonly addedAt: number;
  rank: RebuildRecord["rank"];
  /** What is to become of it; `abort` tells whoever reads it that this changed. */
  wish: "read" | "pause" | "drop";
  /** Its chat was deleted, which may be undone: its row stays. */
  isAside: boolean;
  abort: AbortController;
  place: Place | null;
  done: number;
  total: number;
  /** Tokens that this program has read of it, and the ms that it spent on them. */
  read: number;
  ms: number;
  keptAt: number;
  told: number;
}

/** One of which this program has read nothing yet. */
export function jobOf(
  known: Pick<Job, "id" | "chatId" | "messageId" | "rank" | "done" | "total" | "addedAt">,
  wish: Job["wish"],
): Job {
  const fresh = { isAside: false, place: null, read: 0, ms: 0, keptAt: 0, told: 0 };
  return { ...known, wish, abort: new AbortController(), ...fresh };
}

/** As the interface shows it. @param isCurrent whether it is the one that is being read */
export function viewOf(
  { chatId, wish, done, total, read: tokens, ms }: Job,
  isCurrent: boolean,
): ChatRebuild {
  const tokensPerSecond = ms > 0 ? tokens / (ms / 1000) : null;
  return {
    chatId,
    status: wish === "pause" ? "paused" : isCurrent ? "reading" : "waiting",
    done,
    total,
    tokensPerSecond,
    secondsLeft: tokensPerSecond === null ? null : (total - done) / tokensPerSecond,
  };
}
