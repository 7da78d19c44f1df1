/** Documents that were imported: their text, their pages, how far they were read, and what reading them would cost. */
import { createHash, randomUUID, webcrypto } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import type { DocumentInfo, DocumentReading } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { DocumentRecord, PageStart, ReadingRecord } from "../../store/records.ts";
import { toTarnError } from "../dispatch.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import { costOfChunks } from "./chunk-answers.ts";
import type { DigestContext, Digester } from "./digest.ts";
import type { ReadDocument } from "./extracted.ts";
import { extractInThread } from "./extractor.ts";
import { MAX_CHARACTERS } from "./formats/text-builder.ts";
import { cutPassages } from "./passages.ts";
import { search } from "./search.ts";

type DocumentHandlers = Pick<
  Handlers,
  | "documents.list"
  | "documents.import"
  | "documents.remove"
  | "documents.append"
  | "documents.read"
  | "documents.pause"
  | "documents.checkpoints"
  | "documents.page"
  | "documents.search"
  | "documents.cost"
>;

/** Longer texts are counted only when their cost is asked for. */
const COUNTED_CHARACTERS = 2_000_000;
/** Passages that a search in the interface shows. */
const SEARCH_LIMIT = 20;

/** What of a document's view depends on the present model, by document. */
interface Facts {
  readonly readings: ReadonlyMap<string, ReadingRecord>;
  readonly states: ReadonlyMap<string, { readonly checkpoints: number; readonly bytes: number }>;
  readonly chats: ReadonlyMap<string, number>;
  /** Tokens, where they have been counted. */
  readonly tokens: ReadonlyMap<string, number>;
}

export function documentHandlers(context: DigestContext, digester: Digester): DocumentHandlers {
  const { store, events, engine, readings } = context;
  /** Documents that are being counted: that takes a tokenizer run over each, once for ever. */
  const counting = new Set<string>();
  let counted: Promise<void> = Promise.resolve();

  /** Null while no model is loaded, or when the document was removed. */
  async function countTokens(documentId: string): Promise<number | null> {
    const model = engine.ready();
    const plan = model === null ? null : await readings.planIfThere(model, documentId);
    return plan?.ids.length ?? null;
  }

  /** Counts them one after the other, behind what the user waits for, and tells when it is done. */
  function countLater(documentIds: readonly string[]): void {
    const fresh = documentIds.filter((id) => !counting.has(id));
    if (fresh.length === 0 || engine.ready() === null) return;
    for (const id of fresh) counting.add(id);
    counted = counted.then(async () => {
      for (const id of fresh) {
        await countTokens(id).catch((cause: unknown) =>
          events.emit("notice", { kind: "error", text: toTarnError(cause).message }),
        );
        counting.delete(id);
      }
      events.emit("documents.changed", {});
    });
  }

  async function facts(): Promise<Facts> {
    const model = engine.ready();
    const chats = await store.run("chatsReading", {});
    const records =
      model === null ? [] : await store.run("listReadings", readings.keyOf(model, ""));
    const states = model === null ? [] : await store.run("documentStates", model.info);
    const ids =
      model === null ? [] : await store.run("countedDocuments", readings.keyOf(model, ""));
    return {
      readings: new Map(records.map((one) => [one.documentId, one])),
      states: new Map(states.map((one) => [one.documentId, one])),
      chats: new Map(chats.map((one) => [one.documentId, one.chats])),
      tokens: new Map(ids.map((one) => [one.documentId, one.tokens])),
    };
  }

  function view(document: DocumentRecord, known: Facts): DocumentInfo {
    const { id, name, mediaType, bytes, characters, createdAt, pageUnit, notice } = document;
    const tokens = known.tokens.get(id) ?? null;
    const states = known.states.get(id);
    return {
      id,
      name,
      mediaType,
      bytes,
      pages: document.pages?.length ?? null,
      pageUnit,
      notice,
      characters,
      tokens,
      reading: viewReading(known.readings.get(id)),
      checkpoints: states?.checkpoints ?? 0,
      stateBytes: states?.bytes ?? 0,
      chats: known.chats.get(id) ?? 0,
      createdAt,
    };
  }

  function viewReading(record: ReadingRecord | undefined): DocumentReading | null {
    if (record === undefined) return null;
    const live = digester.live(record.documentId);
    return {
      status: record.status,
      done: live?.done ?? record.done,
      total: record.total,
      tokensPerSecond: live?.tokensPerSecond ?? null,
      secondsLeft: live?.secondsLeft ?? null,
      seconds: record.ms / 1000,
      error: record.error,
    };
  }

  /** Chunks of the documents that were read and can be asked; 0 where one was not read to its end. */
  async function readParts(model: LoadedModel, documentIds: readonly string[]): Promise<number> {
    const { readings: records } = await facts();
    let count = 0;
    for (const documentId of documentIds) {
      if (records.get(documentId)?.status !== "read") return 0;
      const chunks = await readings.chunks(model, documentId);
      count += chunks.filter(({ state }) => state !== null).length;
    }
    return count;
  }

  /** Null before any speed was measured. */
  function secondsFor(tokens: number): number | null {
    const speed = engine.readingSpeed();
    return tokens === 0 ? 0 : speed === null ? null : tokens / speed;
  }

  async function requireDocument(documentId: string): Promise<DocumentRecord> {
    const document = await store.run("getDocument", { documentId });
    if (document === null)
      throw new TarnError("not-found", "This document is not there any more. Attach it again.", {
        documentId,
      });
    return document;
  }

  /** Tokens that a chat which begins with the document would have to read. @param all it has, about */
  async function unread(documentId: string, all: number): Promise<number> {
    const model = engine.ready();
    if (model === null || !(await facts()).states.has(documentId)) return all;
    const ids = await readings.idsOf(model, documentId, null);
    const nearest = await readings.nearest(model, documentId, ids);
    return ids.length - (nearest?.position ?? 0);
  }

  return {
    async "documents.list"() {
      const known = await facts();
      const documents = await store.run("listDocuments", {});
      countLater(
        documents
          .filter(({ id, characters }) => !known.tokens.has(id) && characters <= COUNTED_CHARACTERS)
          .map(({ id }) => id),
      );
      return documents.map((document) => view(document, known));
    },

    async "documents.import"({ name, mediaType, bytes }) {
      const sha256 = await hashOfBytes(bytes);
      const known = await store.run("findDocument", { sha256 });
      if (known !== null) return view(known, await facts());
      const { text, pages, pageUnit, notice, passages } = await extractInThread(
        name,
        mediaType,
        bytes,
      );
      const document: DocumentRecord = {
        id: randomUUID(),
        name,
        mediaType,
        bytes: bytes.byteLength,
        sha256,
        characters: text.length,
        pages,
        pageUnit,
        notice,
        createdAt: Date.now(),
      };
      await store.run("addDocument", { document, text, content: bytes, passages });
      if (document.characters <= COUNTED_CHARACTERS) await countTokens(document.id);
      if (notice !== null) events.emit("notice", { kind: "warning", text: notice });
      events.emit("documents.changed", {});
      return view(document, await facts());
    },

    async "documents.remove"({ documentId }) {
      await digester.leave(documentId);
      if (!(await store.run("removeDocument", { documentId }))) await requireDocument(documentId);
      events.emit("documents.changed", {});
      return null;
    },

    async "documents.append"({ documentId, name, mediaType, bytes }) {
      const before = await requireDocument(documentId);
      const oldText = (await store.run("documentText", { documentId })) ?? "";
      const added = await extractInThread(name, mediaType, bytes);
      const longer = extend(before, oldText, added);
      const sha256 = longer.isVersion
        ? await hashOfBytes(bytes)
        : createHash("sha256")
            .update(`${before.sha256} ${await hashOfBytes(bytes)}`)
            .digest("hex");
      const other = await store.run("findDocument", { sha256 });
      if (other !== null && other.id !== documentId)
        throw new TarnError(
          "bad-request",
          `This is "${other.name}", which is in the library already. Nothing was changed; ask that one, or remove it first.`,
          { documentId: other.id },
        );
      const document: DocumentRecord = {
        ...before,
        bytes: longer.isVersion ? bytes.byteLength : before.bytes + bytes.byteLength,
        sha256,
        characters: longer.text.length,
        pages: longer.pages,
        notice: added.notice ?? before.notice,
      };
      if (document.characters > MAX_CHARACTERS)
        throw new TarnError(
          "document-too-large",
          `"${before.name}" would have more than ${MAX_CHARACTERS / 1e6} million characters. Nothing was added; attach this file by itself.`,
          { documentId, limit: MAX_CHARACTERS },
        );
      const passages = cutPassages(longer.text, longer.pages);
      await digester.leave(documentId);
      const input = { document, before: before.sha256, text: longer.text, passages };
      if (sha256 !== before.sha256 && !(await store.run("extendDocument", input)))
        throw new TarnError("busy", "This document was changed meanwhile. Append it again.", {
          documentId,
        });
      events.emit("documents.changed", {});
      return view(document, await facts());
    },

    async "documents.read"({ documentId }) {
      await requireDocument(documentId);
      await digester.read(documentId);
      return null;
    },

    async "documents.pause"({ documentId }) {
      await requireDocument(documentId);
      await digester.pause(documentId);
      return null;
    },

    async "documents.checkpoints"({ documentId }) {
      const { pages } = await requireDocument(documentId);
      const model = engine.ready();
      if (model === null || pages === null) return null;
      const { readings: records } = await facts();
      if (!records.has(documentId)) return null;
      const { ids, marks, key } = await readings.plan(model, documentId);
      const stored = await context.states.list({ kind: "document", id: documentId }, key.modelHash);
      const places = stored
        .filter(
          ({ owner, position }) => owner.series.startsWith("whole/") && position <= ids.length,
        )
        .map(({ position }) => position);
      return {
        pages: pages.map(({ page, title }, index) => {
          const end = pages[index + 1]?.start;
          const mark =
            end === undefined ? undefined : marks.findLast(({ offset }) => offset <= end);
          const tokens = end === undefined ? ids.length : (mark?.tokens ?? 0);
          const nearest = Math.max(0, ...places.filter((place) => place <= tokens));
          return { page, title: title ?? null, tokens, again: tokens - nearest };
        }),
        tokensPerSecond: engine.readingSpeed(),
      };
    },

    async "documents.page"({ documentId, page }) {
      const { pages } = await requireDocument(documentId);
      const text = (await store.run("documentText", { documentId })) ?? "";
      if (page === null || pages === null) return { page: null, title: null, start: 0, text };
      const index = pages.findIndex((one) => one.page === page);
      const found = pages[index];
      if (found === undefined)
        throw new TarnError(
          "not-found",
          `This document has no page ${page}; it has ${pages.length}.`,
          { documentId, page },
        );
      const { start, title = null } = found;
      return {
        page,
        title,
        start,
        text: text.slice(start, pages[index + 1]?.start ?? text.length).trimEnd(),
      };
    },

    async "documents.search"({ documentId, query }) {
      const { name } = await requireDocument(documentId);
      const hits = await search(store, [{ documentId, until: null }], query, SEARCH_LIMIT);
      return hits.map(({ page, start, end, text }) => ({
        documentId,
        file: name,
        page,
        start,
        end,
        text,
      }));
    },

    async "documents.cost"({ documentIds }) {
      const model = await engine.model();
      let tokens = 0;
      let again = 0;
      for (const documentId of documentIds) {
        await requireDocument(documentId);
        const count = (await countTokens(documentId)) ?? 0;
        tokens += count;
        again += documentIds.length === 1 ? await unread(documentId, count) : count;
      }
      const parts = await readParts(model, documentIds);
      const { tokens: asked, states } = costOfChunks(parts);
      return {
        tokens: again,
        seconds: secondsFor(again),
        bytes: model.info.stateBytes + tokens * model.info.stateBytesPerToken,
        parts: {
          count: parts,
          tokens: asked,
          seconds: secondsFor(asked),
          bytes: states * model.info.stateBytes,
        },
      };
    },
  };
}

/** Off the event loop: 64 MB take a tenth of a second. */
async function hashOfBytes(bytes: Uint8Array): Promise<string> {
  return Buffer.from(await webcrypto.subtle.digest("SHA-256", new Uint8Array(bytes))).toString(
    "hex",
  );
}

/** A longer version of the same text in its place, or other text behind it, on pages that go on counting. */
function extend(
  before: DocumentRecord,
  oldText: string,
  added: ReadDocument,
): {
  readonly text: string;
  readonly pages: readonly PageStart[] | null;
  /** Whether what was added is the whole, of which the document was the beginning. */
  readonly isVersion: boolean;
} {
  if (added.text.startsWith(oldText.trimEnd()))
    return { text: added.text, pages: added.pages, isVersion: true };
  const text = `${oldText.trimEnd()}\n\n${added.text}`;
  const shift = text.length - added.text.length;
  const count = before.pages?.length ?? 0;
  if (before.pages === null) return { text, pages: null, isVersion: false };
  const behind = (added.pages ?? [{ page: 1, start: 0 }]).map((one) => ({
    ...one,
    page: one.page + count,
    start: one.start + shift,
  }));
  return { text, pages: [...before.pages, ...behind], isVersion: false };
}
