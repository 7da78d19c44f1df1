/** How answers came about, and what an audit finds. Hashes are SHA-256 in hex; times are ms since 1970. */
import { z } from "zod";
import { id, samplerSchema } from "./dto.ts";

const hash = z.string().length(64);

/** Of a message that was read, or an answer: what its tokens and words were. */
export const messagePrintSchema = z.object({
  messageId: id,
  role: z.enum(["system", "document", "user", "assistant"]),
  tokens: z.number().int(),
  /** Of the token ids, little-endian i32. */
  ids: hash,
  /** Of the text. */
  text: hash,
});
export type MessagePrint = z.infer<typeof messagePrintSchema>;

/** How one answer came about. It is written with the answer's end, and never changed. */
export const provenanceSchema = z.object({
  at: z.number(),
  /** Tokens that stood before the answer, and the hash of their ids. */
  prefixTokens: z.number().int(),
  prefix: hash,
  answer: messagePrintSchema,
  /** What was put before the model since the answer before. */
  turn: z.array(messagePrintSchema),
  /** Where the turn began without reading: tokens, and the checksum of the state there; null at the beginning, or where it has no record. */
  begun: z.object({ tokens: z.number().int(), state: hash.nullable() }),
  /** Checksum of the state behind the answer; null where none was kept. */
  state: hash.nullable(),
  model: z.object({ hash: z.string(), name: z.string() }),
  tokenizer: z.string(),
  /** Of the arithmetic. */
  numericVersion: z.number().int(),
  backend: z.enum(["webgpu", "wasm", "reference"]),
  device: z.string(),
  /** Null where the program put its words in the model's place. */
  sampler: samplerSchema.omit({ maxTokens: true }).nullable(),
  persona: z.object({ id, name: z.string() }).nullable(),
  documents: z.array(
    z.object({
      id,
      name: z.string(),
      /** Of the file; "" where the document had been removed before. */
      file: z.string(),
      /** Of its text so many UTF-16 units could be read, with this hash. */
      characters: z.number().int(),
      text: z.string(),
      way: z.enum(["whole", "search"]),
    }),
  ),
  /** What was looked up and read, with the hash of its words. */
  passages: z.array(
    z.object({
      documentId: id,
      file: z.string(),
      page: z.number().int().nullable(),
      start: z.number().int(),
      end: z.number().int(),
      text: hash,
    }),
  ),
});
export type Provenance = z.infer<typeof provenanceSchema>;

/** What an audit looks at, one by one. */
export const auditPartSchema = z.object({
  /**
   * `tokens`: what was read before, and the answer's own; `words`: the texts shown; `documents`: files and passages; `stored`: the state on
   * disk; `answer`: the tokens, written again; `state`: the state behind them, computed again, bit by bit.
   */
  part: z.enum(["tokens", "words", "documents", "stored", "answer", "state"]),
  /** `unknown`: it could not be looked at here, and why. */
  finding: z.enum(["holds", "differs", "unknown"]),
  /** A sentence for the user. */
  says: z.string(),
});
export type AuditPart = z.infer<typeof auditPartSchema>;

export const messageAuditSchema = z.object({
  messageId: id,
  /** The first words. */
  excerpt: z.string(),
  finding: z.enum(["holds", "differs", "unknown"]),
  parts: z.array(auditPartSchema),
});
export type MessageAudit = z.infer<typeof messageAuditSchema>;

/** Of the path to one message: every answer on it. */
export const auditSchema = z.object({
  chatId: id,
  finding: z.enum(["holds", "differs", "unknown"]),
  /** Tokens that were run for it. */
  tokens: z.number().int(),
  messages: z.array(messageAuditSchema),
});
export type Audit = z.infer<typeof auditSchema>;
