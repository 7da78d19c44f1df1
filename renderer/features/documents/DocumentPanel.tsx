import { useEffect, useRef, useState } from "react";
import { BookOpen, ChevronLeft, ChevronRight, X } from "lucide-react";
import type { DocumentInfo, DocumentPage } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { IconButton } from "../../ui/IconButton.tsx";
import { AsOf } from "./AsOf.tsx";
import { MemoryMapBar } from "./MemoryMapBar.tsx";

export interface OpenPlace {
  readonly documentId: string;
  readonly page: number | null;
  /** UTF-16 range of the whole text to mark; null marks nothing. */
  readonly mark: { readonly start: number; readonly end: number } | null;
}

interface DocumentPanelProps {
  readonly place: OpenPlace;
  readonly document: DocumentInfo | undefined;
  /** A new chat that has read up to this page and no further; null for all of it. */
  onAsk(document: DocumentInfo, page: number | null): void;
  onClose(): void;
}

/** One page of a document beside the chat, with the cited passage marked. */
export function DocumentPanel({ place, document, onAsk, onClose }: DocumentPanelProps) {
  const api = useApi();
  const pages = document?.pages ?? null;
  const [page, setPage] = useState(place.page ?? (pages === null ? null : 1));
  const [shown, setShown] = useState<DocumentPage | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const passage = useRef<HTMLElement>(null);
  const region = useRef<HTMLDivElement>(null);
  const words = useRef<HTMLDivElement>(null);

  useEffect(() => setPage(place.page ?? (pages === null ? null : 1)), [place, pages]);
  useEffect(() => {
    let current = true;
    setProblem(null);
    api.call("documents.page", { documentId: place.documentId, page }).then(
      (next) => current && setShown(next),
      (error: unknown) => current && setProblem(toTarnError(error).message),
    );
    return () => {
      current = false;
    };
  }, [api, place.documentId, page]);
  useEffect(() => {
    passage.current?.scrollIntoView({ block: "center" });
  }, [shown, place]);
  useEffect(() => region.current?.focus({ preventScroll: true }), [place]);

  const text = shown?.text ?? "";
  const clamp = (offset: number): number =>
    Math.min(Math.max(offset - (shown?.start ?? 0), 0), text.length);
  const from = place.mark === null ? 0 : clamp(place.mark.start);
  const to = place.mark === null ? 0 : clamp(place.mark.end);
  return (
    <section
      className="document-panel"
      aria-label="Document"
      onKeyDown={(event) => event.key === "Escape" && onClose()}
    >
      <div className="bar">
        <BookOpen className="i s" />
        <span className="strong cut grow" dir="auto">
          {document?.name ?? "Document"}
        </span>
        {pages !== null && page !== null && (
          <>
            <IconButton
              label="Previous page"
              icon={<ChevronLeft className="i s flip" />}
              disabled={page <= 1}
              onClick={() => setPage(page - 1)}
            />
            <span className="small q">{`${page} of ${pages}`}</span>
            <IconButton
              label="Next page"
              icon={<ChevronRight className="i s flip" />}
              disabled={page >= pages}
              onClick={() => setPage(page + 1)}
            />
          </>
        )}
        <IconButton label="Close document" icon={<X className="i s" />} onClick={onClose} />
      </div>
      {document !== undefined && pages !== null && pages > 1 && (
        <AsOf document={document} onAsk={(upTo) => onAsk(document, upTo)} />
      )}
      <MemoryMapBar
        documentId={place.documentId}
        tokens={document?.tokens ?? null}
        page={shown}
        text={words}
      />
      <div className="scroll" ref={region} tabIndex={0} role="region" aria-label="Page">
        {problem !== null && (
          <p className="danger" role="alert" style={{ padding: 16 }}>
            {problem}
          </p>
        )}
        {shown !== null && shown.title !== null && (
          <p className="document-head small q" dir="auto">
            {shown.title}
          </p>
        )}
        <div className="document-text" dir="auto" ref={words}>
          {text.slice(0, from)}
          {to > from && <mark ref={passage}>{text.slice(from, to)}</mark>}
          {text.slice(Math.max(from, to))}
        </div>
      </div>
    </section>
  );
}
