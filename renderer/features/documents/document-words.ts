/** How documents, and how far they are read, are put into words. */
import type { DocumentInfo, DocumentReading } from "../../../main/contract/dto.ts";
import { formatCount, formatRate, formatSeconds, formatTokens } from "../../ui/format.ts";

type Sized = Pick<DocumentInfo, "pages" | "pageUnit" | "characters">;

/** "214 pages", "1 sheet", "48,112 characters" */
export function sizeOf({ pages, pageUnit, characters }: Sized): string {
  if (pages === null) return `${formatCount(characters)} characters`;
  const unit = pageUnit ?? "page";
  return `${formatCount(pages)} ${pages === 1 ? unit : `${unit}s`}`;
}

/** Of what is to be read, 0 to 100, never 100 before the end. */
export function percentOf({ status, done, total }: DocumentReading): number {
  if (status === "read") return 100;
  return total === 0 ? 0 : Math.min(99, Math.floor((100 * done) / total));
}

/** What it is doing, in one or a few words. */
export function stateOf(reading: DocumentReading): string {
  switch (reading.status) {
    case "waiting":
      return "Waits its turn";
    case "reading":
      return "Reading";
    case "paused":
      return "Paused";
    case "interrupted":
      return "Paused: Tarn was ended in the middle of it";
    case "read":
      return "Read";
    case "failed":
      return "Stopped";
  }
}

/** The line below the bar: what is done, and what is left. */
export function restOf(reading: DocumentReading): { readonly done: string; readonly left: string } {
  const { status, done, total, tokensPerSecond, secondsLeft } = reading;
  const kept = status === "reading" ? "read" : "kept";
  const share = total === 0 ? "" : ` of ${formatTokens(total)} ${kept}`;
  const rate = tokensPerSecond === null ? null : formatRate(tokensPerSecond);
  const time = secondsLeft === null ? null : `${formatSeconds(secondsLeft)} left`;
  return {
    done: total === 0 ? "" : `${formatCount(done)}${share}`,
    left: [rate, time].filter((part) => part !== null).join(", "),
  };
}
