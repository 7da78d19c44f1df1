/** What the store keeps, as plain values. Times are ms since 1970. */
import type { ErrorCode } from "../contract/errors.ts";
import type {
  AppliedPersona,
  Grounds,
  Message,
  Passage,
  SamplerSettings,
} from "../contract/dto.ts";

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
  readonly grounds: Grounds | null;
  readonly persona: AppliedPersona | null;
  readonly documents: readonly AttachedDocument[];
  /** Count of its token ids with the tokenizer that read it last. */
  readonly tokens: number;
  readonly prefilled: number | null;
  readonly tokensPerSecond: number | null;
  readonly sampler: { readonly temperature: number; readonly seed: number } | null;
  readonly createdAt: number;
}

/** What a chat can begin with. */
export interface PersonaRecord extends AppliedPersona {
  /** What the model is told. */
  readonly prompt: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A document that a message brought along. */
export interface AttachedDocument {
  readonly id: string;
  readonly name: string;
  /** Read as of here: nothing behind this UTF-16 offset was looked at. Null for all of it. */
  readonly until: number | null;
  /** That place as it was chosen, "page 12"; null for all of it. */
  readonly asOf: string | null;
}

/** What may change on a message. */
export type MessagePatch = Partial<
  Pick<
    MessageRecord,
    | "text"
    | "status"
    | "error"
    | "passages"
    | "grounds"
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

/** A chat that is read again for one model, or waits for it. */
export interface RebuildRecord {
  readonly id: string;
  readonly chatId: string;
  /** In which the state stands that it has reached; null where none is kept. */
  readonly messageId: string | null;
  readonly modelHash: string;
  readonly tokenizerHash: string;
  /** Whether someone wants it now, or it is done behind everything else. */
  readonly rank: "asked" | "background";
  readonly status: "waiting" | "reading" | "paused";
  /** Tokens; the total is 0 until it is known. */
  readonly done: number;
  readonly total: number;
  /** ms since 1970. */
  readonly addedAt: number;
}

/** The tables whose rows own snapshots. */
export type OwnerKind = "message" | "document" | "persona" | "rebuild";

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
  /** The checksum of its head; null of states from before it was kept. */
  readonly stateHash: string | null;
}

/** One call of the engine, in tokens. */
export type DerivationStep =
  /** A prompt: with `chunk` left to the engine. */
  | { readonly read: number }
  /** An answer: so many tokens, by these samplers, one a branch of the batch that it was written in; `branch` says which it is. */
  | {
      readonly write: number;
      readonly samplers: readonly Omit<SamplerSettings, "maxTokens">[];
      readonly branch: number;
      /** Of the branches the longest. */
      readonly most: number;
      /** The version of the way in which samplers choose. */
      readonly choices: number;
      /** How activations were rounded. */
      readonly activations: "int16" | "int8";
    };

/** How a state was computed from another one. */
export interface Derivation {
  readonly stateHash: string;
  /** The checksum of the state that it began with; null for none: an empty sequence. */
  readonly baseHash: string | null;
  /** Tokens that the base has read. */
  readonly base: number;
  readonly position: number;
  readonly steps: readonly DerivationStep[];
  /** That it was computed on: elsewhere the bits may differ. */
  readonly device: string;
}

/** What all snapshots take on disk. */
export interface StateSizes {
  readonly snapshots: number;
  readonly pages: number;
  /** Heads and pages. */
  readonly bytes: number;
  /** Snapshots that are the last to go. */
  readonly pinned: number;
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

/** So many token ids hold exactly the document's text up to this UTF-16 offset. */
export interface TokenMark {
  readonly tokens: number;
  readonly offset: number;
}

/** A whole document with one tokenizer, as a conversation begins that reads it. */
export interface DocumentIds {
  readonly ids: Int32Array;
  /** In order; empty where the tokenizer does not give its text back exactly. */
  readonly marks: readonly TokenMark[];
}

/** A part of a document that is read by itself. */
export interface ChunkRecord {
  readonly ordinal: number;
  /** That it begins on. */
  readonly page: number | null;
  /** UTF-16 offsets of the document's text. */
  readonly start: number;
  readonly end: number;
  /** As a conversation begins that reads this part alone. */
  readonly ids: Int32Array;
}

/** Which reading of a document is meant. */
export interface ReadingKey {
  readonly documentId: string;
  readonly modelHash: string;
  readonly tokenizerHash: string;
  /** Hash of what stands before the document. */
  readonly lead: string;
}

/** How far a reading has come. */
export interface ReadingRecord extends ReadingKey {
  /** `interrupted`: the program ended in the middle of it. */
  readonly status: "waiting" | "reading" | "paused" | "interrupted" | "read" | "failed";
  /** Tokens, of the whole and of the chunks together. */
  readonly done: number;
  readonly total: number;
  /** Spent reading. */
  readonly ms: number;
  /** A sentence for the user where it failed. */
  readonly error: string | null;
  readonly queuedAt: number;
}

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
  readonly pageUnit: PageUnit | null;
  /** What could not be read of it, as a sentence for the user. */
  readonly notice: string | null;
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

/** A document, or its beginning: what lies behind `until`, a UTF-16 offset, is not looked at. Null is all of it. */
export interface DocumentReach {
  readonly documentId: string;
  readonly until: number | null;
}

/** A passage with its BM25 score; higher is better. */
export interface PassageHit extends PassageRecord {
  readonly score: number;
}
