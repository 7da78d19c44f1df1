/** What the store keeps, as plain values. Times are ms since 1970. */
import type { ErrorCode } from "../contract/errors.ts";
import type { Message, Passage } from "../contract/dto.ts";

/** A chat. `baseId` is the message of another chat that this one was forked at. */
export interface ChatRecord {
  readonly id: string;
  readonly title: string;
  readonly pinned: boolean;
  readonly baseId: string | null;
  readonly tipId: string | null;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A message without what depends on its neighbours. */
export interface MessageRecord {
  readonly id: string;
  readonly chatId: string;
  readonly parentId: string | null;
  readonly role: Message["role"];
  readonly text: string;
  readonly status: Message["status"];
  readonly error: { readonly code: ErrorCode; readonly message: string } | null;
  readonly passages: readonly Passage[];
  readonly documents: readonly { readonly id: string; readonly name: string }[];
  /** Count of its token ids with the tokenizer that read it last. */
  readonly tokens: number;
  readonly prefilled: number | null;
  readonly tokensPerSecond: number | null;
  readonly sampler: { readonly temperature: number; readonly seed: number } | null;
  readonly createdAt: number;
}

/** What may change on a message. */
export type MessagePatch = Partial<
  Pick<
    MessageRecord,
    | "text"
    | "status"
    | "error"
    | "passages"
    | "tokens"
    | "prefilled"
    | "tokensPerSecond"
    | "sampler"
  >
>;

/** Token ids of one message with one tokenizer, little-endian i32 on disk. */
export interface MessageIds {
  readonly tokenizerHash: string;
  readonly ids: Int32Array;
}

/** The tables whose rows own snapshots. */
export type OwnerKind = "message" | "document";

/** What a snapshot belongs to, and goes with. */
export interface StateOwner {
  readonly kind: OwnerKind;
  readonly id: string;
  /**
   * Snapshots of one owner that follow each other: "" of a message; of a document whatever tells its lines of checkpoints apart.
   * A series has one snapshot at a position for each model and tokenizer.
   */
  readonly series: string;
}

/** A snapshot's facts without its bytes. */
export interface StateInfo {
  readonly id: number;
  readonly owner: StateOwner;
  readonly modelHash: string;
  readonly tokenizerHash: string;
  /** Of the arithmetic that computed it. */
  readonly numericVersion: number;
  /** Tokens that it has read. */
  readonly position: number;
  /** SHA-256 (hex) of those token ids. */
  readonly prefixHash: string;
  /** Of the whole, as the engine takes it. */
  readonly rawBytes: number;
  /** Of its head alone: pages are shared. */
  readonly storedBytes: number;
  readonly usedAt: number;
  /** The last to go when there is no room. */
  readonly pinned: boolean;
}

/** What all snapshots take on disk. */
export interface StateSizes {
  readonly snapshots: number;
  readonly pages: number;
  /** Heads and pages. */
  readonly bytes: number;
}

/** Where a page's text begins in the extracted text; pages are 1-based and in order. */
export interface PageStart {
  readonly page: number;
  /** UTF-16 offset. */
  readonly start: number;
  /** Of a slide, sheet or chapter that has one. */
  readonly title?: string;
}

/** What a document's pages are. */
export type PageUnit = "page" | "slide" | "sheet" | "chapter";

/** A document without its text. */
export interface DocumentRecord {
  readonly id: string;
  readonly name: string;
  readonly mediaType: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Length of the extracted text, UTF-16 units. */
  readonly characters: number;
  /** Null where the format has no pages. */
  readonly pages: readonly PageStart[] | null;
  readonly createdAt: number;
}

/** A piece of a document that search finds. Offsets are UTF-16 units of the extracted text. */
export interface PassageRecord {
  readonly documentId: string;
  readonly ordinal: number;
  readonly page: number | null;
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A passage with its BM25 score; higher is better. */
export interface PassageHit extends PassageRecord {
  readonly score: number;
}
