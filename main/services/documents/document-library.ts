/** Documents that were imported: their text, their pages, and what reading them would cost. */
import { randomUUID, webcrypto } from "node:crypto";
import type { Handlers } from "../../contract/contract.ts";
import type { DocumentInfo } from "../../contract/dto.ts";
import { TarnError } from "../../contract/errors.ts";
import type { DocumentRecord } from "../../store/records.ts";
import type { Store } from "../../store/store.ts";
import type { EngineService } from "../engine/engine-service.ts";
import type { Events } from "../events.ts";
import { extractInThread } from "./extractor.ts";
import { search } from "./search.ts";

type DocumentHandlers = Pick<
  Handlers,
  | "documents.list"
  | "documents.import"
  | "documents.remove"
  | "documents.page"
  | "documents.search"
  | "documents.cost"
>;

/** Longer texts are counted only when their cost is asked for. */
const COUNTED_CHARACTERS = 2_000_000;
/** Passages that a search in the interface shows. */
const SEARCH_LIMIT = 20;

export function documentHandlers(
  store: Store,
  events: Events,
  engine: EngineService,
): DocumentHandlers {
  /** Counts cost a tokenizer run over the whole text, so each is made once a tokenizer. */
  const counts = new Map<string, number>();

  async function countTokens(documentId: string): Promise<number | null> {
    const model = engine.ready();
    if (model === null) return null;
    const known = counted(documentId);
    if (known !== undefined) return known;
    const text = await store.run("documentText", { documentId });
    if (text === null) return null;
    const count = await model.wording.countTokens(text);
    counts.set(`${documentId}:${model.wording.tokenizerHash}`, count);
    return count;
  }

  function counted(documentId: string): number | undefined {
    return counts.get(`${documentId}:${engine.ready()?.wording.tokenizerHash}`);
  }

  async function view(document: DocumentRecord): Promise<DocumentInfo> {
    const { id, name, mediaType, bytes, characters, createdAt } = document;
    const tokens = characters <= COUNTED_CHARACTERS ? await countTokens(id) : (counted(id) ?? null);
    return {
      id,
      name,
      mediaType,
      bytes,
      pages: document.pages?.length ?? null,
      characters,
      tokens,
      createdAt,
    };
  }

  async function requireDocument(documentId: string): Promise<DocumentRecord> {
    const document = await store.run("getDocument", { documentId });
    if (document === null)
      throw new TarnError("not-found", "This document is not there any more. Attach it again.", {
        documentId,
      });
    return document;
  }

  return {
    async "documents.list"() {
      return Promise.all((await store.run("listDocuments", {})).map(view));
    },

    async "documents.import"({ name, mediaType, bytes }) {
      // Off the event loop: 64 MB take a tenth of a second.
      const sha256 = Buffer.from(
        await webcrypto.subtle.digest("SHA-256", new Uint8Array(bytes)),
      ).toString("hex");
      const known = await store.run("findDocument", { sha256 });
      if (known !== null) return view(known);
      const { text, pages, notice, passages } = await extractInThread(name, mediaType, bytes);
      const document: DocumentRecord = {
        id: randomUUID(),
        name,
        mediaType,
        bytes: bytes.byteLength,
        sha256,
        characters: text.length,
        pages,
        createdAt: Date.now(),
      };
      await store.run("addDocument", { document, text, content: bytes, passages });
      if (notice !== null) events.emit("notice", { kind: "warning", text: notice });
      events.emit("documents.changed", {});
      return view(document);
    },

    async "documents.remove"({ documentId }) {
      if (!(await store.run("removeDocument", { documentId }))) await requireDocument(documentId);
      events.emit("documents.changed", {});
      return null;
    },

    async "documents.page"({ documentId, page }) {
      const { pages } = await requireDocument(documentId);
      const text = (await store.run("documentText", { documentId })) ?? "";
      if (page === null || pages === null) return { page: null, start: 0, text };
      const index = pages.findIndex((one) => one.page === page);
      const start = pages[index]?.start;
      if (start === undefined)
        throw new TarnError(
          "not-found",
          `This document has no page ${page}; it has ${pages.length}.`,
          { documentId, page },
        );
      return {
        page,
        start,
        text: text.slice(start, pages[index + 1]?.start ?? text.length).trimEnd(),
      };
    },

    async "documents.search"({ documentId, query }) {
      const { name } = await requireDocument(documentId);
      const hits = await search(store, [documentId], query, SEARCH_LIMIT);
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
      await engine.model();
      let tokens = 0;
      for (const documentId of documentIds) {
        await requireDocument(documentId);
        tokens += (await countTokens(documentId)) ?? 0;
      }
      const speed = engine.readingSpeed();
      return { tokens, seconds: speed === null ? null : tokens / speed };
    },
  };
}
