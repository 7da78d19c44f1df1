import type { ErrorDto } from "../../contract/errors.ts";
import type { PageStart, PageUnit, PassageRecord } from "../../store/records.ts";

/** What a file says. Offsets are UTF-16 units of `text`. */
export interface Extracted {
  readonly text: string;
  /** Null where the format has no pages. */
  readonly pages: readonly PageStart[] | null;
  /** What its pages are; null where it has none. */
  readonly pageUnit: PageUnit | null;
  /** What had to be guessed, as a sentence for the user. */
  readonly notice: string | null;
}

/** A file's text, and its passages for search. */
export interface ReadDocument extends Extracted {
  readonly passages: readonly Omit<PassageRecord, "documentId">[];
}

/** The one message of the extracting thread. */
export type ExtractReply =
  | { readonly ok: true; readonly document: ReadDocument }
  | { readonly ok: false; readonly error: ErrorDto };
