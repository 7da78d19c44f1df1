/**
 * Documents as conversations that begin with them: their token ids, the states that were kept while they were read, and the nearest of
 * these to any place. Chats and the background reader (digest.ts) both go by it, so that what one has read the other need not.
 */
import { createHash } from "node:crypto";
import type { SessionId } from "../../../models/engine/protocol.ts";
import { TarnError } from "../../contract/errors.ts";
import type {
  ChunkRecord,
  DocumentIds,
  DocumentRecord,
  ReadingKey,
  StateInfo,
} from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { LoadedModel } from "../engine/engine-service.ts";
import type { SettingsService } from "../settings/settings.ts";
import { belongsTo, type StateService } from "../states/state-service.ts";
import type { TurnMessage } from "../tokenizer/conversation.ts";
import { chunksOfPassages, cutsOf } from "./reading-plan.ts";
import { findMarks } from "./token-marks.ts";

/** A document's whole reading by one model. */
export interface ReadingPlan extends DocumentIds {
  readonly key: ReadingKey;
  readonly document: DocumentRecord;
  /** Where its state may be kept, in tokens; the last is the end. */
  readonly cuts: readonly number[];
}

/** A chunk, with the state behind it where one is stored. */
export interface ReadChunk extends ChunkRecord {
  readonly state: StateInfo | null;
}

export interface DocumentReadings {
  /**
   * The ids of a conversation that begins with the document: what a turn behind it appends to.
   * @param until only the text before this UTF-16 offset; null for all of it
   * @throws TarnError `not-found`
   */
  idsOf(model: LoadedModel, documentId: string, until: number | null): Promise<Int32Array>;
  /** @throws TarnError `not-found` */
  plan(model: LoadedModel, documentId: string): Promise<ReadingPlan>;
  /** The same, or null where the document was removed. */
  planIfThere(model: LoadedModel, documentId: string): Promise<ReadingPlan | null>;
  /**
   * Its chunks in order; each one's ids are a conversation's beginning of its own.
   * @throws TarnError `not-found`
   */
  chunks(model: LoadedModel, documentId: string): Promise<ReadChunk[]>;
  /** The furthest state of reading the document that has read nothing but what `ids` begin with. */
  nearest(model: LoadedModel, documentId: string, ids: Int32Array): Promise<StateInfo | null>;
  /** Keeps the state of a session that has read the first `position` of the plan's ids. @returns the snapshot's id, null where there was no room */
  keep(
    model: LoadedModel,
    session: SessionId,
    plan: Pick<ReadingPlan, "key" | "ids">,
    position: number,
  ): Promise<number | null>;
  keepChunk(
    model: LoadedModel,
    session: SessionId,
    key: ReadingKey,
    chunk: ChunkRecord,
  ): Promise<void>;
  /** Which reading of the document belongs to the model and the settings of now. */
  keyOf(model: LoadedModel, documentId: string): ReadingKey;
}

/** SHA-256 (hex) over the first ids, little-endian i32. */
export function hashOfIds(ids: Int32Array, count = ids.length): string {
  return createHash("sha256")
    .update(new Uint8Array(ids.buffer, ids.byteOffset, count * 4))
    .digest("hex");
}

/** Series of the snapshots of a whole reading. */
export function wholeSeries({ lead }: Pick<ReadingKey, "lead">): string {
  return `whole/${lead}`;
}

function chunkSeries({ lead }: Pick<ReadingKey, "lead">, ordinal: number): string {
  return `chunk/${lead}/${ordinal}`;
}

export function createDocumentReadings(
  store: Store,
  states: StateService,
  settings: Pick<SettingsService, "get">,
): DocumentReadings {
  function keyOf(model: LoadedModel, documentId: string): ReadingKey {
    const lead = createHash("sha256").update(settings.get().systemPrompt.trim()).digest("hex");
    return {
      documentId,
      modelHash: model.info.modelHash,
      tokenizerHash: model.wording.tokenizerHash,
      lead: lead.slice(0, 16),
    };
  }

  function opening(model: LoadedModel, text: string): Promise<Int32Array> {
    const system = settings.get().systemPrompt.trim();
    const parts: TurnMessage[] = system === "" ? [] : [{ role: "system", text: system }];
    return model.wording.opening([], [...parts, { role: "document", text }]);
  }

  async function requireText(documentId: string): Promise<string> {
    const text = await store.run("documentText", { documentId });
    if (text === null) throw gone(documentId);
    return text;
  }

  async function readIds(model: LoadedModel, document: DocumentRecord): Promise<DocumentIds> {
    const key = keyOf(model, document.id);
    const stored = await store.run("documentIds", key);
    if (stored !== null) return stored;
    const text = await requireText(document.id);
    const ids = await opening(model, text);
    const passages = await store.run("passagePlaces", { documentId: document.id });
    // Where words end, not where the next begin: a text that ends there has the same ids up to it.
    const offsets = new Set([
      ...(document.pages ?? []).map(({ start }) => text.slice(0, start).trimEnd().length),
      ...passages.map(({ end }) => end),
    ]);
    const wanted = [...offsets].toSorted((a, b) => a - b);
    const marks = await findMarks(model.wording.decode, ids, text, wanted);
    await store.run("saveDocumentIds", { ...key, ids, marks });
    return { ids, marks };
  }

  async function requireDocument(documentId: string): Promise<DocumentRecord> {
    const document = await store.run("getDocument", { documentId });
    if (document === null) throw gone(documentId);
    return document;
  }

  async function planOf(model: LoadedModel, document: DocumentRecord): Promise<ReadingPlan> {
    const { ids, marks } = await readIds(model, document);
    const cuts = cutsOf(ids.length, marks, document.pages);
    return { key: keyOf(model, document.id), document, ids, marks, cuts };
  }

  async function chunkRecords(model: LoadedModel, documentId: string): Promise<ChunkRecord[]> {
    const key = keyOf(model, documentId);
    const stored = await store.run("chunksOf", key);
    if (stored.length > 0) return stored;
    const document = await requireDocument(documentId);
    const { marks } = await readIds(model, document);
    const text = await requireText(documentId);
    const passages = await store.run("passagePlaces", { documentId });
    const chunks: ChunkRecord[] = [];
    for (const [ordinal, plan] of chunksOfPassages(passages, marks).entries())
      chunks.push({
        ...plan,
        ordinal,
        ids: await opening(model, text.slice(plan.start, plan.end)),
      });
    await store.run("saveChunks", { ...key, chunks });
    return chunks;
  }

  return {
    keyOf,
    async idsOf(model, documentId, until) {
      if (until !== null)
        return opening(model, (await requireText(documentId)).slice(0, until).trimEnd());
      return (await readIds(model, await requireDocument(documentId))).ids;
    },
    plan: async (model, documentId) => planOf(model, await requireDocument(documentId)),
    async planIfThere(model, documentId) {
      const document = await store.run("getDocument", { documentId });
      return document === null ? null : planOf(model, document);
    },
    async chunks(model, documentId) {
      const key = keyOf(model, documentId);
      const chunks = await chunkRecords(model, documentId);
      const stored = await states.list({ kind: "document", id: documentId }, key.modelHash);
      const bySeries = Map.groupBy(stored, ({ owner }) => owner.series);
      return chunks.map((chunk) => {
        const found = bySeries.get(chunkSeries(key, chunk.ordinal)) ?? [];
        const state = found.find(
          (one) =>
            belongsTo(one, model) &&
            one.position === chunk.ids.length &&
            one.prefixHash === hashOfIds(chunk.ids),
        );
        return { ...chunk, state: state ?? null };
      });
    },
    async nearest(model, documentId, ids) {
      const stored = await states.list({ kind: "document", id: documentId }, model.info.modelHash);
      return (
        stored
          .filter((state) => state.owner.series.startsWith("whole/") && belongsTo(state, model))
          .filter(({ position }) => position <= ids.length)
          .toSorted((a, b) => b.position - a.position)
          .find(({ position, prefixHash }) => hashOfIds(ids, position) === prefixHash) ?? null
      );
    },
    keep(model, session, { key, ids }, position) {
      const owner = { kind: "document", id: key.documentId, series: wholeSeries(key) } as const;
      const place = { position, prefixHash: hashOfIds(ids, position) };
      return states.save(model, session, owner, place);
    },
    async keepChunk(model, session, key, { ordinal, ids }) {
      const series = chunkSeries(key, ordinal);
      const place = { position: ids.length, prefixHash: hashOfIds(ids) };
      await states.save(model, session, { kind: "document", id: key.documentId, series }, place);
    },
  };
}

function gone(documentId: string): TarnError {
  return new TarnError(
    "not-found",
    "This document was removed from the library. Nothing else was lost; attach it again.",
    { documentId },
  );
}
