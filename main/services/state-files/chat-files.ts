/** Chats as portable state files, and back: a chat that goes on at once where the file is opened. */
import { createHash, randomUUID } from "node:crypto";
import type { EngineMethods } from "../../../models/engine/protocol.ts";
import type { Handlers } from "../../contract/contract.ts";
import { TarnError } from "../../contract/errors.ts";
import type { MessageRecord } from "../../store/records.ts";
import { requireChat, requireMessage } from "../chats/chat-view.ts";
import { findStart, placeOf, readSteps, type Start, type Step } from "../chats/read-path.ts";
import { sealedIds } from "../chats/sealed.ts";
import { idsOfMessages } from "../chats/turn-ids.ts";
import type { TurnContext } from "../chats/turn-context.ts";
import type { Rebuilder } from "../chats/rebuild.ts";
import { fromEngine, isEngineError } from "../engine/engine-errors.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { Queue } from "../engine/queue.ts";
import type { FileTransfers } from "./file-transfers.ts";
import { readStateFile, writeStateFile, type StateFile } from "./state-file.ts";

type ChatFileHandlers = Pick<Handlers, "chats.exportState" | "chats.importState">;
type Snapshot = EngineMethods["snapshot"]["out"];
type ReadEntry = StateFile["read"][number];

/** @param queue the engine's */
export function chatFileHandlers(
  context: TurnContext,
  queue: Queue,
  transfers: FileTransfers,
  rebuilder: Pick<Rebuilder, "rebuild">,
): ChatFileHandlers {
  const { store, states, engine, events } = context;

  function nameOf(model: LoadedModel): string {
    const { modelName, weights } = engine.status();
    const name = modelName ?? model.entry.name;
    return weights === null || name.includes(weights) ? name : `${name}, ${weights}`;
  }

  /** The engine's state behind the last of the steps; what is not stored is read, and makes way for chats. */
  async function snapshotBehind(model: LoadedModel, steps: readonly Step[]): Promise<Snapshot> {
    let start = await queue.run("asked", () => findStart(context, model, steps, null));
    const { session } = start;
    try {
      for (;;) {
        const result = await queue.run("asked", async () => {
          const makeWay = new AbortController();
          const { signal } = makeWay;
          const { prefilled, cancelled } = await readSteps(
            context,
            model,
            steps,
            start,
            signal,
            () => void (queue.isWanted("asked") && makeWay.abort()),
          );
          start = behindTokens(steps, start, prefilled);
          if (cancelled && start.index < steps.length - 1) return null;
          const { tokenizerHash } = model.wording;
          return model.engine.call("snapshot", { session, tokenizerHash, pages: "all" });
        });
        if (result !== null) return result;
      }
    } finally {
      await model.engine.call("free", { session }).catch(() => undefined);
    }
  }

  /** Writes the chat down as rows; the last of its messages stands where the file's state does. */
  async function createFrom(
    model: LoadedModel,
    { title, read }: StateFile,
    pieces: readonly Piece[],
  ): Promise<{ readonly chatId: string; readonly steps: Step[] }> {
    const now = Date.now();
    const chatId = randomUUID();
    const steps: Step[] = [];
    let parentId: string | null = null;
    for (const { role, text, ids, tokens } of pieces) {
      const message: MessageRecord = { ...EMPTY, id: randomUUID(), chatId, parentId, role, text };
      steps.push({
        message: { ...message, tokens, createdAt: now },
        ids: ids ?? new Int32Array(),
      });
      parentId = message.id;
    }
    const words = title === "" ? (read.find(({ text }) => text !== null)?.text ?? "") : title;
    const shown = words.trim().slice(0, 60) || "Imported memory";
    await store.run("createChat", { id: chatId, title: shown, baseId: null, now });
    const { tokenizerHash } = model.wording;
    await store.run("addMessages", {
      chatId,
      title: null,
      now,
      messages: steps.map(({ message, ids }, index) => ({
        message,
        ids: pieces[index]?.ids === null ? null : { tokenizerHash, ids },
      })),
    });
    return { chatId, steps };
  }

  /** Continues the file's state. @throws TarnError why it cannot be; nothing is left of it then */
  async function goOnFrom(
    model: LoadedModel,
    file: StateFile,
    pieces: readonly Piece[],
  ): Promise<string> {
    const bytes = new Uint8Array(file.snapshot);
    const { tokenizerHash } = model.wording;
    const restored = await model.engine
      .call("restore", { bytes, tokenizerHash, recent: new Int32Array() })
      .catch((cause: unknown) => {
        if (!isEngineError(cause) || cause.code !== "state") throw fromEngine(cause);
        throw refused(file, model, `it cannot be gone on from here (${cause.message})`, cause);
      });
    const { session, position } = restored;
    try {
      if (position !== file.position)
        throw damaged(`its state has read ${position} tokens, its list ${file.position}`);
      const { chatId, steps } = await createFrom(model, file, pieces);
      const owner = { kind: "message", id: steps.at(-1)?.message.id ?? "", series: "" } as const;
      let kept: number | null = null;
      try {
        kept = await states.save(model, session, owner, placeOf(steps));
      } finally {
        if (kept === null) await store.run("deleteChat", { chatId, now: Date.now() });
      }
      if (kept === null) {
        throw new TarnError(
          "disk-full",
          "The disk is full. Nothing was lost, and nothing was imported. Free some space and try again.",
        );
      }
      return chatId;
    } finally {
      await model.engine.call("free", { session });
    }
  }

  return {
    async "chats.exportState"({ chatId, messageId, withText, passphrase }) {
      const { title } = await requireChat(store, chatId);
      const message = await requireMessage(store, chatId, messageId);
      if (["queued", "reading", "writing"].includes(message.status))
        throw new TarnError("busy", "This answer is still being written. Stop it or wait.", {
          messageId,
        });
      const model = await engine.model();
      const path = await store.run("pathTo", { messageId });
      const steps = await queue.run("asked", () => idsOfMessages(context, model, chatId, path));
      const snapshot = await snapshotBehind(model, steps).catch((cause: unknown) => {
        throw fromEngine(cause);
      });
      const last = steps.findLast(({ ids }) => ids.length > 0)?.ids.at(-1) ?? -1;
      const { modelHash } = model.info;
      const { tokenizerHash, stopIds } = model.wording;
      const contents: StateFile = {
        // It is the first words.
        title: withText ? title : "",
        model: { name: nameOf(model), modelHash, tokenizerHash },
        createdAt: Date.now(),
        position: steps.reduce((sum, { ids }) => sum + ids.length, 0),
        isClosed: stopIds.includes(last),
        read: steps.map((step) => entryOf(step, withText)),
        snapshot: new Uint8Array(snapshot.bytes),
      };
      const bytes = await writeStateFile(contents, passphrase);
      const fileId = transfers.give(bytes);
      return { fileId, name: `${fileName(title)}.tarn`, bytes: bytes.byteLength };
    },

    async "chats.importState"({ fileId, passphrase, readAgain }) {
      const file = await readStateFile(transfers.get(fileId), passphrase);
      const model = await engine.model();
      const isSame =
        file.model.modelHash === model.info.modelHash &&
        file.model.tokenizerHash === model.wording.tokenizerHash;
      if (!isSame && !readAgain) {
        const reason = `it was made with “${file.model.name}”, and “${nameOf(model)}” is loaded. A memory is numbers of one model in one quantisation`;
        throw refused(file, model, reason);
      }
      const pieces = await piecesOf(file, model, readAgain);
      const chatId = readAgain
        ? (await createFrom(model, file, pieces)).chatId
        : await queue.run("asked", () => goOnFrom(model, file, pieces));
      transfers.drop(fileId);
      events.emit("chats.changed", {});
      if (readAgain) await rebuilder.rebuild(chatId);
      return { chatId };
    },
  };
}

/** Tokens that may stand in a file without its words, where nothing else bounds their number: each takes 4 bytes here. */
const MAX_SEALED = 2 ** 24;

/** A message to be. */
interface Piece {
  readonly role: MessageRecord["role"];
  readonly text: string;
  /** Null where they are to be computed from the text. */
  readonly ids: Int32Array | null;
  readonly tokens: number;
}

const EMPTY: Omit<MessageRecord, "id" | "chatId" | "parentId" | "role" | "text"> = {
  status: "done",
  error: null,
  passages: [],
  grounds: null,
  persona: null,
  documents: [],
  tokens: 0,
  prefilled: null,
  tokensPerSecond: null,
  sampler: null,
  createdAt: 0,
};

/** Of a document the text is its name here: its words are its ids. */
function entryOf({ message, ids }: Step, withText: boolean): ReadEntry {
  const { role, text, documents } = message;
  const isDocument = role === "document";
  const names = documents.map(({ name }) => name).join(", ");
  const bytes = new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength);
  return {
    role,
    name: isDocument ? (names === "" ? text : names).slice(0, 1000) : null,
    tokens: ids.length,
    sha256: createHash("sha256")
      .update(isDocument ? bytes : text)
      .digest("hex"),
    text: withText && !isDocument ? text : null,
    ids: withText ? new Uint8Array(bytes) : null,
  };
}

/** What the file lists, checked, as messages. @throws TarnError `state-corrupt`; `state-foreign` where its words are needed and missing */
async function piecesOf(
  { read, position, isClosed, model: madeWith }: StateFile,
  model: LoadedModel,
  readAgain: boolean,
): Promise<Piece[]> {
  const total = read.reduce((sum, { tokens }) => sum + tokens, 0);
  if (read.length === 0 || total !== position)
    throw damaged(`its list has ${total} tokens, its state ${position}`);
  const hasIds = read.every(({ ids }) => ids !== null);
  if (hasIds && madeWith.tokenizerHash === model.wording.tokenizerHash) {
    const pieces: Piece[] = [];
    for (const entry of read) pieces.push(await pieceOf(entry, model));
    return pieces;
  }
  const words = read.flatMap(({ role, text }) =>
    text === null ? [] : [{ role, text, ids: null, tokens: 0 }],
  );
  if (readAgain) {
    if (words.length === read.length) return words;
    throw new TarnError(
      "state-foreign",
      "The words are not in this file, so another model cannot read them. Nothing was changed.",
    );
  }
  if (position > MAX_SEALED)
    throw damaged(
      `it claims to have read ${position} tokens, and no file has more than ${MAX_SEALED}`,
    );
  const [lastId = null] = isClosed === true ? model.wording.stopIds : [];
  return [{ role: "system", text: "", ids: sealedIds(position, lastId), tokens: position }];
}

async function pieceOf({ role, text, name, ids, tokens }: ReadEntry, model: LoadedModel) {
  if (ids === null || ids.byteLength !== 4 * tokens)
    throw damaged("its tokens are not as many as it says");
  const list = new Int32Array(new Uint8Array(ids).buffer);
  if (list.some((id) => id < 0 || id >= model.info.vocabSize))
    throw damaged("it has tokens that the model does not have");
  const words = text ?? (role === "document" ? null : await model.wording.decode(list));
  return { role, text: words ?? name ?? "Document", ids: list, tokens };
}

/** Where a session stands that has read so many tokens more. */
function behindTokens(
  steps: readonly Step[],
  { session, index, ahead }: Start,
  tokens: number,
): Start {
  let at = ahead + tokens;
  let behind = index;
  for (let next = steps[behind + 1]; next !== undefined; next = steps[behind + 1]) {
    if (at < next.ids.length) break;
    at -= next.ids.length;
    behind++;
  }
  return { session, index: behind, ahead: at };
}

/** Letters, digits and spaces of a title; what file systems do not take is left out. */
function fileName(title: string): string {
  const name = title
    .replaceAll(/[^\p{L}\p{N} _-]+/gu, " ")
    .replaceAll(/\s+/g, " ")
    .trim();
  return name.slice(0, 60).trim() || "Memory";
}

/** @param reason a clause */
function refused(
  { read, model: madeWith }: StateFile,
  { wording }: LoadedModel,
  reason: string,
  cause?: unknown,
): TarnError {
  const sameWords = madeWith.tokenizerHash === wording.tokenizerHash;
  const canReadAgain = read.every(({ text, ids }) => text !== null || (ids !== null && sameWords));
  const way = canReadAgain
    ? "Load that model, or let the present one read the words that are in the file."
    : "Load that model and open the file again.";
  return new TarnError(
    "state-foreign",
    `This memory was not opened: ${reason}. Nothing was changed. ${way}`,
    { canReadAgain: Number(canReadAgain), madeWith: madeWith.name },
    cause,
  );
}

function damaged(reason: string): TarnError {
  return new TarnError(
    "state-corrupt",
    `This state file is damaged: ${reason}. Nothing was changed; use another copy of it.`,
    { reason },
  );
}
