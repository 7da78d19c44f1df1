/**
 * THE declaration of what the UI may ask and hear, whatever carries it (Electron IPC, WebSocket).
 * Both sides derive their types from here; every input and output is checked at run time by its schema.
 */
import { z } from "zod";
import {
  chatCostsSchema,
  chatRebuildSchema,
  chatSchema,
  chatSummarySchema,
  chatTreeSchema,
  costSchema,
  checkpointsSchema,
  documentPageSchema,
  documentProgressSchema,
  documentSchema,
  engineStatusSchema,
  id,
  FILE_PART_BYTES,
  MAX_DOCUMENT_BYTES,
  MAX_STATE_FILE_BYTES,
  memoryMapSchema,
  messageSchema,
  modelSchema,
  passageSchema,
  personaSchema,
  personaTextSchema,
  progressSchema,
  settingsSchema,
  stateSizesSchema,
  undoneSchema,
} from "./dto.ts";
import { auditSchema, provenanceSchema } from "./provenance.ts";

const nothing = z.object({});
const done = z.null();
const passphrase = z.string().min(1).max(1000);

export const calls = {
  "app.info": {
    in: nothing,
    out: z.object({
      version: z.string(),
      dataFolder: z.string(),
      shell: z.enum(["desktop", "browser"]),
    }),
  },

  "chats.list": { in: z.object({ query: z.string().max(1000) }), out: z.array(chatSummarySchema) },
  "chats.create": { in: nothing, out: chatSchema },
  "chats.get": { in: z.object({ chatId: id }), out: chatSchema },
  /** Every message that the chat can show, on whichever branch. */
  "chats.tree": { in: z.object({ chatId: id }), out: chatTreeSchema },
  "chats.rename": { in: z.object({ chatId: id, title: z.string().min(1).max(500) }), out: done },
  "chats.pin": { in: z.object({ chatId: id, pinned: z.boolean() }), out: done },
  /** Soft: `chats.restore` brings it back until the program ends; then its states are removed from the file. */
  "chats.delete": { in: z.object({ chatId: id }), out: done },
  "chats.restore": { in: z.object({ chatId: id }), out: done },
  /** What chats can begin with, by name. */
  "personas.list": { in: nothing, out: z.array(personaSchema) },
  /** Its state is read in the background. */
  "personas.add": { in: personaTextSchema, out: personaSchema },
  /** Chats that began with it keep what they began with. */
  "personas.change": { in: personaTextSchema.extend({ personaId: id }), out: personaSchema },
  /** With its states; chats that began with it keep what they began with. */
  "personas.remove": { in: z.object({ personaId: id }), out: done },
  /** How an answer came about; null where that was not written down. */
  "messages.provenance": {
    in: z.object({ chatId: id, messageId: id }),
    out: provenanceSchema.nullable(),
  },
  /**
   * Computes again how every answer on the way to this message came about, and says for each whether it holds. `messageId` null is the
   * end that is shown. `chat.auditing` tells how far it is; rejects with `cancelled` when it was stopped.
   */
  "chats.audit": { in: z.object({ chatId: id, messageId: id.nullable() }), out: auditSchema },
  /** What that would run. */
  "chats.auditCost": { in: z.object({ chatId: id, messageId: id.nullable() }), out: costSchema },
  "chats.stopAudit": { in: nothing, out: done },
  /** What going on from each message of the shown path would cost. Null while no model is loaded. */
  "chats.cost": { in: z.object({ chatId: id }), out: chatCostsSchema.nullable() },
  /** Reads the chat again where its end is not stored for this model, or goes on with it. Resolves at once; `rebuild.progress` tells. */
  "chats.rebuild": { in: z.object({ chatId: id }), out: done },
  /** Chats that are being read again, or wait for it. */
  "chats.rebuilds": { in: nothing, out: z.array(chatRebuildSchema) },
  /** What was read stays with the model until the program ends. Null is all of them. */
  "chats.pauseRebuild": { in: z.object({ chatId: id.nullable() }), out: done },
  /** Gives it up; the chat is read again when it is gone on with. Null is all of them. */
  "chats.stopRebuild": { in: z.object({ chatId: id.nullable() }), out: done },
  /**
   * The chat up to this message as a sealed file, encrypted where a passphrase is given; `files.part` fetches it. Without the text it
   * lists what was read by name, tokens and hash. What is not stored for the model is read first.
   */
  "chats.exportState": {
    in: z.object({
      chatId: id,
      messageId: id,
      withText: z.boolean(),
      passphrase: passphrase.nullable(),
    }),
    out: z.object({ fileId: id, name: z.string(), bytes: z.number().int() }),
  },
  /**
   * A chat that goes on from a file that was sent with `files.begin` and `files.add`; it is kept until it was opened, so that another
   * passphrase can be tried. `readAgain` takes the words alone, where the state is another model's. Rejects with `unauthorized`,
   * `state-corrupt` or `state-foreign`, whose data says by `canReadAgain` whether the words are there.
   */
  "chats.importState": {
    in: z.object({ fileId: id, passphrase: passphrase.nullable(), readAgain: z.boolean() }),
    out: z.object({ chatId: id }),
  },
  /** Begins to send a file; one that was sent before is forgotten. */
  "files.begin": {
    in: z.object({
      bytes: z
        .number()
        .int()
        .min(1)
        .max(MAX_STATE_FILE_BYTES, "This file is larger than a state file may be: 1,024 MB."),
    }),
    out: z.object({ fileId: id }),
  },
  /** The next part: parts come in order. */
  "files.add": {
    in: z.object({
      fileId: id,
      at: z.number().int().min(0),
      bytes: z
        .instanceof(Uint8Array)
        .refine((bytes) => bytes.byteLength <= FILE_PART_BYTES, "This part is too large."),
    }),
    out: done,
  },
  /** A part of a file that is ready; empty at its end. */
  "files.part": {
    in: z.object({ fileId: id, at: z.number().int().min(0) }),
    out: z.object({ bytes: z.instanceof(Uint8Array) }),
  },
  "files.drop": { in: z.object({ fileId: id }), out: done },
  /** Takes back the last thing that was done to a chat since the program started; null where there is none. */
  "history.undo": { in: nothing, out: undoneSchema.nullable() },
  "history.redo": { in: nothing, out: undoneSchema.nullable() },
  "states.sizes": { in: nothing, out: stateSizesSchema },

  /**
   * The user's words are on disk when this resolves; the answer streams as events.
   * `parentId` null starts at the root; a parent that already has children makes a branch.
   * `reading`: how attached documents are used: "search" puts passages before the question, "whole" reads all of it.
   * `asOf`: nothing behind this page of them is looked at.
   */
  "messages.send": {
    in: z.object({
      chatId: id,
      parentId: id.nullable(),
      text: z.string().min(1).max(1_000_000),
      documentIds: z.array(id).max(32),
      reading: z.enum(["search", "whole"]),
      asOf: z.number().int().min(1).exactOptional(),
      /** That a new chat begins with; only where `parentId` is null. */
      personaId: id.exactOptional(),
    }),
    out: z.object({ userMessageId: id, assistantMessageId: id }),
  },
  /** Another answer from the stored state behind the user's message: nothing is read. */
  "messages.regenerate": {
    in: z.object({ chatId: id, messageId: id }),
    out: z.object({ assistantMessageId: id }),
  },
  /** Several other answers in one batch, each with a seed of its own; all from the stored state, nothing is read. */
  "messages.regenerateMany": {
    in: z.object({ chatId: id, messageId: id, count: z.number().int().min(2).max(16) }),
    out: z.object({ assistantMessageIds: z.array(id) }),
  },
  /** A changed user message beside the old one, from its parent's state. */
  "messages.edit": {
    in: z.object({ chatId: id, messageId: id, text: z.string().min(1).max(1_000_000) }),
    out: z.object({ userMessageId: id, assistantMessageId: id }),
  },
  /** A new chat that begins with everything up to this message: a row, no tokens. */
  "messages.fork": { in: z.object({ chatId: id, messageId: id }), out: z.object({ chatId: id }) },
  /** Shows the branch that this message is on. */
  "messages.select": {
    in: z.object({
      chatId: id,
      messageId: id,
      /** Stands right at this message, to go on from it; else at the newest end of its branch. */
      exact: z.boolean().optional(),
    }),
    out: chatSchema,
  },
  /**
   * Takes this message and everything behind it out of the chat; forks that begin with it keep it. Soft: `messages.restoreBranch` and
   * undo bring it back until the program ends; then its states are removed from the file.
   */
  "messages.deleteBranch": {
    in: z.object({ chatId: id, messageId: id }),
    out: z.object({
      chat: chatSchema,
      /** What to restore: the message, or the document that was read for it alone. */
      messageId: id,
      /** How many went. */
      messages: z.number().int(),
    }),
  },
  "messages.restoreBranch": { in: z.object({ chatId: id, messageId: id }), out: chatSchema },
  /** Its state is the last to go when there is no room, or one among others again. */
  "messages.pinState": {
    in: z.object({ chatId: id, messageId: id, pinned: z.boolean() }),
    out: done,
  },
  /** These messages of the chat, whichever branch they are on; what is not there any more is left out. */
  "messages.get": {
    in: z.object({ chatId: id, messageIds: z.array(id).max(64) }),
    out: z.array(messageSchema),
  },
  "messages.stop": { in: z.object({ chatId: id }), out: done },

  "documents.list": { in: nothing, out: z.array(documentSchema) },
  "documents.import": {
    in: z.object({
      name: z.string().min(1).max(500),
      mediaType: z.string().max(200),
      bytes: z.instanceof(Uint8Array).refine((bytes) => bytes.byteLength <= MAX_DOCUMENT_BYTES, {
        message: `This file is larger than the limit of ${MAX_DOCUMENT_BYTES / 2 ** 20} MB. Nothing was added; attach a smaller part of it.`,
        params: { code: "document-too-large" },
      }),
    }),
    out: documentSchema,
  },
  "documents.remove": { in: z.object({ documentId: id }), out: done },
  /** More pages, or a longer version of the same text: what was read is not read again. */
  "documents.append": {
    in: z.object({
      documentId: id,
      name: z.string().min(1).max(500),
      mediaType: z.string().max(200),
      bytes: z.instanceof(Uint8Array).refine((bytes) => bytes.byteLength <= MAX_DOCUMENT_BYTES, {
        message: `This file is larger than the limit of ${MAX_DOCUMENT_BYTES / 2 ** 20} MB. Nothing was added; attach a smaller part of it.`,
        params: { code: "document-too-large" },
      }),
    }),
    out: documentSchema,
  },
  /** Reads it in the background, once for all chats, or goes on with it. Resolves at once; `document.progress` tells. */
  "documents.read": { in: z.object({ documentId: id }), out: done },
  /** What was read is kept. */
  "documents.pause": { in: z.object({ documentId: id }), out: done },
  /** What standing behind each page would cost. Null while no model is loaded, or before it was read. */
  "documents.checkpoints": { in: z.object({ documentId: id }), out: checkpointsSchema.nullable() },
  "documents.page": {
    in: z.object({ documentId: id, page: z.number().int().min(1).nullable() }),
    out: documentPageSchema,
  },
  "documents.search": {
    in: z.object({ documentId: id, query: z.string().max(1000) }),
    out: z.array(passageSchema),
  },
  /**
   * Follows back how much of each token's write the model still holds behind the whole document. It takes as long as reading it twice at
   * most; `document.mapping` tells. It waits while a chat wants the engine. Resolves when `documents.memory` knows; rejects with
   * `cancelled` when it was stopped.
   */
  "documents.mapMemory": { in: z.object({ documentId: id }), out: done },
  "documents.stopMapping": { in: nothing, out: done },
  /** Null where the document was not mapped with the present model since the program began. `layer` null is the mean of all. */
  "documents.memory": {
    in: z.object({
      documentId: id,
      start: z.number().int().min(0),
      end: z.number().int().min(0),
      layer: z.number().int().min(0).nullable(),
    }),
    out: memoryMapSchema.nullable(),
  },
  /** What reading the whole document into a chat would cost. */
  "documents.cost": {
    in: z.object({ documentIds: z.array(id).max(32) }),
    out: z.object({
      /** That are not read yet. */
      tokens: z.number().int(),
      seconds: z.number().nullable(),
      /** Of the model's state behind it. */
      bytes: z.number(),
      /** What asking all parts comes to, where the words of a question find nothing: for a usual question. */
      parts: z.object({
        /** That were read; 0 where none can be asked. */
        count: z.number().int(),
        tokens: z.number().int(),
        seconds: z.number().nullable(),
        /** Of their states in memory at once. */
        bytes: z.number(),
      }),
    }),
  },

  "models.list": { in: nothing, out: z.array(modelSchema) },
  "models.add": { in: z.object({ path: z.string().min(1).max(4096) }), out: modelSchema },
  "models.use": { in: z.object({ modelId: z.string() }), out: done },

  "engine.status": { in: nothing, out: engineStatusSchema },
  "settings.get": { in: nothing, out: settingsSchema },
  "settings.set": { in: settingsSchema.partial(), out: settingsSchema },
  /** Opens a link outside, after the gate (http, https, mailto). */
  "shell.openLink": { in: z.object({ url: z.string().max(4096) }), out: done },
} as const;

export const events = {
  "engine.status": engineStatusSchema,
  /** A message that appeared or changed other than by text (status, counts, error). */
  "message.changed": z.object({ chatId: id, message: messageSchema }),
  /** Text to append to an assistant message. `at` is its length before, so that a late listener sees a gap. */
  "message.delta": z.object({ chatId: id, messageId: id, at: z.number().int(), text: z.string() }),
  "message.progress": progressSchema,
  /** How far the chat has come that is being read again. */
  "rebuild.progress": chatRebuildSchema,
  /** Another chat is read again, or one begins, waits, is paused or done. */
  "rebuilds.changed": z.object({}),
  /** The list or a title changed. */
  "chats.changed": z.object({}),
  "personas.changed": z.object({}),
  /** How far an audit has come, in tokens. */
  "chat.auditing": z.object({ chatId: id, done: z.number().int(), total: z.number().int() }),
  "documents.changed": z.object({}),
  "document.progress": documentProgressSchema,
  /** How far a memory map has come, in tokens of both ways through the document. */
  "document.mapping": z.object({
    documentId: id,
    done: z.number().int(),
    total: z.number().int(),
  }),
  "settings.changed": settingsSchema,
  /** The desktop shell's menu was used. */
  "menu.command": z.object({ command: z.enum(["new-chat", "settings", "search"]) }),
  /** One sentence for a toast. */
  notice: z.object({ kind: z.enum(["info", "warning", "error"]), text: z.string() }),
} as const;

export type MenuCommand = z.infer<(typeof events)["menu.command"]>["command"];
export type CallName = keyof typeof calls;
export type CallInput<N extends CallName> = z.input<(typeof calls)[N]["in"]>;
export type CallOutput<N extends CallName> = z.output<(typeof calls)[N]["out"]>;
export type EventName = keyof typeof events;
export type EventData<N extends EventName> = z.output<(typeof events)[N]>;

/** What services implement: one handler a call. */
export type Handlers = {
  readonly [N in CallName]: (input: z.output<(typeof calls)[N]["in"]>) => Promise<CallOutput<N>>;
};

/** What the UI calls; `window.tarn` under Electron, a WebSocket client in the browser. */
export interface Api {
  /** @throws TarnError */
  call<N extends CallName>(name: N, input: CallInput<N>): Promise<CallOutput<N>>;
  /** Returns the way to stop listening. */
  on<N extends EventName>(name: N, listener: (data: EventData<N>) => void): () => void;
}
