/** The values that cross between the UI and the services. Times are ms since 1970; sizes are bytes. */
import { z } from "zod";

/** Documents larger than this are refused before they are read. */
export const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;

/** A file with a chat's state may be as large. */
export const MAX_STATE_FILE_BYTES = 1024 * 1024 * 1024;
/** It crosses the contract in parts of this size. */
export const FILE_PART_BYTES = 8 * 1024 * 1024;

export const id = z.string().min(1).max(64);

export const samplerSchema = z.object({
  temperature: z.number().min(0).max(5),
  topK: z.number().int().min(0).max(100_000),
  topP: z.number().min(0).max(1),
  minP: z.number().min(0).max(1),
  repetitionPenalty: z.number().min(0.5).max(3),
  repetitionWindow: z.number().int().min(0).max(8192),
  seed: z.number().int().min(0).max(0xffff_ffff),
  maxTokens: z.number().int().min(1).max(1_000_000),
});
export type SamplerSettings = z.infer<typeof samplerSchema>;

/** A passage that was found by search and given to the model, shown beside the answer. */
export const passageSchema = z.object({
  documentId: id,
  file: z.string(),
  /** 1-based; null where the format has no pages. */
  page: z.number().int().nullable(),
  /** UTF-16 offsets into the extracted text. */
  start: z.number().int(),
  end: z.number().int(),
  text: z.string(),
});
export type Passage = z.infer<typeof passageSchema>;

/** How an answer about documents came about. */
export const groundsSchema = z.object({
  /**
   * `whole`: from the memory of the document, which was read before. `look-up`: sentences were found by the question's words and read
   * for it. `twice`: a document that was read before, of which the sentences that have the question's words were read again behind it.
   * `chunks`: no sentence had its words; the memories of all parts were asked, and the surest one named the place.
   */
  way: z.enum(["whole", "twice", "chunks", "look-up"]),
  /** Whose words the answer is: the model's; a sentence of the document in their place, which it did not keep to; or that there is none. */
  origin: z.enum(["model", "quote", "refusal"]),
  /** Whether a sentence of the documents says so; it is the message's passage. */
  isFound: z.boolean(),
});
export type Grounds = z.infer<typeof groundsSchema>;

/** One question and its answer, as a persona would give it. */
export const exampleSchema = z.object({
  user: z.string().min(1).max(20_000),
  assistant: z.string().min(1).max(20_000),
});
export type Example = z.infer<typeof exampleSchema>;

/** A persona as a chat began with it; what it was told is the message's text. Changing the persona later does not change this. */
export const appliedPersonaSchema = z.object({
  id,
  name: z.string().min(1).max(200),
  examples: z.array(exampleSchema).max(32),
  /** Null: as in the settings. */
  temperature: z.number().min(0).max(5).nullable(),
});
export type AppliedPersona = z.infer<typeof appliedPersonaSchema>;

/** What is typed of a persona. */
export const personaTextSchema = appliedPersonaSchema.omit({ id: true }).extend({
  /** What the model is told. */
  prompt: z.string().max(100_000),
});
export type PersonaText = z.infer<typeof personaTextSchema>;

export const messageSchema = z.object({
  id,
  parentId: id.nullable(),
  role: z.enum(["system", "document", "user", "assistant"]),
  text: z.string(),
  /**
   * On the user's message: passages that were found for this turn; what an earlier turn put before the model is not read again.
   * On an answer: the sentences that say so.
   */
  passages: z.array(passageSchema),
  /** Of an answer about documents; else null. */
  grounds: groundsSchema.nullable(),
  /** Of the message that a chat with a persona begins with; else null. */
  persona: appliedPersonaSchema.nullable(),
  /** Documents attached with this message. */
  documents: z.array(
    z.object({
      id,
      name: z.string(),
      /** Read as of here: nothing behind this UTF-16 offset of its text. Null for all of it. */
      until: z.number().int().nullable(),
      /** That place as it was chosen, "page 12"; null for all of it. */
      asOf: z.string().nullable(),
    }),
  ),
  /** `queued`, `reading` (prefill) and `writing` are transient; the rest is final. */
  status: z.enum(["queued", "reading", "writing", "done", "stopped", "length", "failed"]),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  /** Tokens of this message in the conversation. */
  tokens: z.number().int(),
  /** Tokens that its turn ran before its first new one; null on user messages. */
  prefilled: z.number().int().nullable(),
  tokensPerSecond: z.number().nullable(),
  /** Temperature and seed that it was sampled with; null on user messages. */
  sampler: z.object({ temperature: z.number(), seed: z.number() }).nullable(),
  /** Ids of the alternatives at this place (this one included), oldest first: "answer 2 of 3". */
  siblings: z.array(id),
  createdAt: z.number(),
});
export type Message = z.infer<typeof messageSchema>;

export const chatSummarySchema = z.object({
  id,
  title: z.string(),
  updatedAt: z.number(),
  pinned: z.boolean(),
});
export type ChatSummary = z.infer<typeof chatSummarySchema>;

export const chatSchema = chatSummarySchema.extend({
  /** The path from the root to the tip that is shown. */
  messages: z.array(messageSchema),
  /** Tokens read along this path. */
  tokensRead: z.number().int(),
  /** Bytes of the state on disk at the tip (compressed), null where none is stored. */
  snapshotBytes: z.number().int().nullable(),
  documents: z.array(
    z.object({
      id,
      name: z.string(),
      pages: z.number().int().nullable(),
      tokens: z.number().int().nullable(),
    }),
  ),
});
export type Chat = z.infer<typeof chatSchema>;

/** What must be read again to stand somewhere; 0 tokens where a state is stored. */
export const costSchema = z.object({
  tokens: z.number().int(),
  /** About; null before anything was read with this model. */
  seconds: z.number().nullable(),
});
export type Cost = z.infer<typeof costSchema>;

export const personaSchema = personaTextSchema.extend({
  id,
  /** Of its beginning of a conversation, with the present model; null while none is loaded. */
  tokens: z.number().int().nullable(),
  /** What is to be read before a chat can begin with it: 0 tokens once its state is kept. Null while no model is loaded. */
  cost: costSchema.nullable(),
  /** On disk, of all models. */
  stateBytes: z.number().int(),
  /** How the present model's chat template puts it: in a role of its own, before the user's first words, or as plain paragraphs. */
  role: z.enum(["system", "user", "plain"]).nullable(),
  updatedAt: z.number(),
});
export type Persona = z.infer<typeof personaSchema>;

/** What it takes to go on from each message of a chat, beyond the new words themselves. */
export const chatCostsSchema = z.object({
  messages: z.array(
    z.object({
      messageId: id,
      /** Of standing before it: what answering or asking again costs. */
      before: costSchema,
      /** Of standing behind it: what continuing, also in a fork, costs. */
      behind: costSchema,
      /** Whether its state is kept before others when there is no room. */
      isPinned: z.boolean(),
    }),
  ),
  /**
   * Why the end of the chat costs something: `other-model`: its states are of another model, quantisation or tokenizer;
   * `older-version`: of an older version of the arithmetic; `not-stored`: there is none. Null where nothing is to be read.
   */
  reason: z.enum(["other-model", "older-version", "not-stored"]).nullable(),
});
export type ChatCosts = z.infer<typeof chatCostsSchema>;

/** A chat that is read again, or waits for it. */
export const chatRebuildSchema = z.object({
  chatId: id,
  status: z.enum(["waiting", "reading", "paused"]),
  /** Tokens; the total is 0 until it is known. */
  done: z.number().int(),
  total: z.number().int(),
  tokensPerSecond: z.number().nullable(),
  secondsLeft: z.number().nullable(),
});
export type ChatRebuild = z.infer<typeof chatRebuildSchema>;

/** What was undone or done again. */
export const undoneSchema = z.object({
  /** Null where that removed the chat. */
  chatId: id.nullable(),
  /** "Edit" */
  what: z.string(),
});
export type Undone = z.infer<typeof undoneSchema>;

export const stateSizesSchema = z.object({
  /** On disk. */
  bytes: z.number().int(),
  budget: z.number().int(),
  snapshots: z.number().int(),
  /** Snapshots that the user wants kept: the last to go. */
  pinned: z.number().int(),
});
export type StateSizes = z.infer<typeof stateSizesSchema>;

/** A message as a place in the tree of a chat's branches. */
export const treeNodeSchema = z.object({
  id,
  parentId: id.nullable(),
  role: messageSchema.shape.role,
  /** The first words. */
  excerpt: z.string(),
  status: messageSchema.shape.status,
  tokens: z.number().int(),
  tokensPerSecond: z.number().nullable(),
  /** That an answer was sampled with; null where none was. */
  seed: z.number().nullable(),
  /** Bytes of its stored state (compressed), of whichever model; 0 where none is stored. */
  snapshotBytes: z.number().int(),
  /** Whether the user wants its state kept. */
  isPinned: z.boolean(),
});
export type TreeNode = z.infer<typeof treeNodeSchema>;

export const chatTreeSchema = z.object({
  /** Oldest first; a parent stands before its children. */
  nodes: z.array(treeNodeSchema),
  tipId: id.nullable(),
});
export type ChatTree = z.infer<typeof chatTreeSchema>;

/** How far a document has been read into the present model's state. */
export const readingSchema = z.object({
  /** `interrupted`: the program ended in the middle of it. */
  status: z.enum(["waiting", "reading", "paused", "interrupted", "read", "failed"]),
  /** Tokens: the whole, and each chunk by itself. */
  done: z.number().int(),
  total: z.number().int(),
  tokensPerSecond: z.number().nullable(),
  secondsLeft: z.number().nullable(),
  /** That it took so far. */
  seconds: z.number(),
  /** Why it failed. */
  error: z.string().nullable(),
});
export type DocumentReading = z.infer<typeof readingSchema>;

export const documentProgressSchema = readingSchema
  .pick({ done: true, total: true, tokensPerSecond: true, secondsLeft: true })
  .extend({ documentId: id });
export type DocumentProgress = z.infer<typeof documentProgressSchema>;

/** Where a document's reading can be stood at again. */
export const checkpointsSchema = z.object({
  pages: z.array(
    z.object({
      page: z.number().int(),
      title: z.string().nullable(),
      /** From the beginning to the page's end. */
      tokens: z.number().int(),
      /** To read again to stand exactly there; 0 on a checkpoint. */
      again: z.number().int(),
    }),
  ),
  /** Of reading; null before anything was read. */
  tokensPerSecond: z.number().nullable(),
});
export type DocumentCheckpoints = z.infer<typeof checkpointsSchema>;

export const documentSchema = z.object({
  id,
  name: z.string(),
  mediaType: z.string(),
  bytes: z.number().int(),
  pages: z.number().int().nullable(),
  pageUnit: z.enum(["page", "slide", "sheet", "chapter"]).nullable(),
  /** What could not be read of the file. */
  notice: z.string().nullable(),
  /** By the present model; null where it never was. */
  reading: readingSchema.nullable(),
  /** Checkpoints of the whole, and the bytes on disk of all its states, by the present model. */
  checkpoints: z.number().int(),
  stateBytes: z.number().int(),
  /** Chats that it was brought to. */
  chats: z.number().int(),
  characters: z.number().int(),
  /** With the current model's tokenizer; null while unknown. */
  tokens: z.number().int().nullable(),
  createdAt: z.number(),
});
export type DocumentInfo = z.infer<typeof documentSchema>;

/** How much the model still holds of each word, painted on the text. */
export const memoryMapSchema = z.object({
  /** Names of the recurrences, in the model's order. */
  layers: z.array(z.string()),
  /** UTF-16 offsets into the extracted text, in order; the share of what was written there that is still held, 0 … 1. */
  spans: z.array(z.object({ start: z.number().int(), end: z.number().int(), share: z.number() })),
});
export type MemoryMap = z.infer<typeof memoryMapSchema>;

export const documentPageSchema = z.object({
  page: z.number().int().nullable(),
  title: z.string().nullable(),
  start: z.number().int(),
  text: z.string(),
});
export type DocumentPage = z.infer<typeof documentPageSchema>;

export const modelSchema = z.object({
  /** Stable name: the path of a GGUF file or model folder. */
  id: z.string(),
  name: z.string(),
  path: z.string(),
  format: z.enum(["gguf", "safetensors"]),
  modelType: z.string(),
  bytes: z.number().int(),
  supported: z.boolean(),
  /** Why not, where `supported` is false. */
  reason: z.string().nullable(),
  bundled: z.boolean(),
});
export type ModelEntry = z.infer<typeof modelSchema>;

export const engineStatusSchema = z.object({
  phase: z.enum([
    "starting",
    "loading",
    "ready",
    "reading",
    "writing",
    "rebuilding",
    "failed",
    "no-model",
  ]),
  modelId: z.string().nullable(),
  modelName: z.string().nullable(),
  /** "Q8_0" */
  weights: z.string().nullable(),
  backend: z.enum(["webgpu", "wasm", "reference"]).nullable(),
  device: z.string().nullable(),
  /** Of a chat before its first token. */
  stateBytes: z.number().nullable(),
  /** What each token adds; 0 where the state is constant. */
  stateBytesPerToken: z.number().nullable(),
  tokensPerSecond: z.number().nullable(),
  /** Sentences to tell once, for example why a backend was left for the next one. */
  notices: z.array(z.string()),
  error: errorish().nullable(),
});
function errorish() {
  return z.object({ code: z.string(), message: z.string() });
}
export type EngineStatus = z.infer<typeof engineStatusSchema>;

export const settingsSchema = z.object({
  theme: z.enum(["system", "light", "dark"]),
  backend: z.enum(["auto", "webgpu", "wasm", "reference"]),
  modelId: z.string().nullable(),
  systemPrompt: z.string().max(100_000),
  sampler: samplerSchema,
  /** "sentences": token by token is too much for speech. */
  announce: z.enum(["paragraphs", "answer", "nothing"]),
  /** Bytes on disk that stored states may take; beyond it the least useful go, and are read again when they are needed. */
  statesBudget: z
    .number()
    .int()
    .min(64 * 2 ** 20)
    .max(2 ** 50),
});
export type Settings = z.infer<typeof settingsSchema>;

export const progressSchema = z.object({
  chatId: id,
  messageId: id,
  done: z.number().int(),
  total: z.number().int(),
  tokensPerSecond: z.number(),
  secondsLeft: z.number(),
});
export type ReadingProgress = z.infer<typeof progressSchema>;
