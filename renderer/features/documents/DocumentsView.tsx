import { useRef, useState } from "react";
import {
  BookOpen,
  FilePlus,
  Files,
  Layers,
  LoaderCircle,
  MessageSquare,
  Pause,
  Plus,
} from "lucide-react";
import type { DocumentInfo } from "../../../main/contract/dto.ts";
import { toTarnError } from "../../client/check.ts";
import { useApi } from "../../client/context.tsx";
import { ACCEPTED_DOCUMENTS, readFileFor } from "../../client/import-document.ts";
import { Button } from "../../ui/Button.tsx";
import { formatBytes, formatCount, formatSeconds, formatTokens } from "../../ui/format.ts";
import { useToast } from "../../ui/toasts.tsx";
import { useFileDrop } from "../../ui/use-file-drop.ts";
import { DocumentTable } from "./DocumentTable.tsx";
import { ReadingCard } from "./ReadingCard.tsx";
import { useDocumentProgress } from "./use-document-progress.ts";

interface DocumentsViewProps {
  readonly documents: readonly DocumentInfo[];
  /** Resolves when each file is in the library or was refused, and said so. */
  onAdd(files: readonly File[]): Promise<void>;
  onOpen(documentId: string): void;
  /** A new chat that begins with it. */
  onAsk(document: DocumentInfo): void;
  onRemove(document: DocumentInfo): void;
}

/** The library: every document that was added or attached once, and how far the model has read it. */
export function DocumentsView({ documents, onAdd, onOpen, onAsk, onRemove }: DocumentsViewProps) {
  const api = useApi();
  const tell = useToast();
  const chooser = useRef<HTMLInputElement>(null);
  const appender = useRef<HTMLInputElement>(null);
  const [appendTo, setAppendTo] = useState<DocumentInfo | null>(null);
  const [adding, setAdding] = useState(0);
  const all = useDocumentProgress(documents);
  const begun = all.filter(({ reading }) => reading !== null && reading.status !== "read");
  const others = all.filter((document) => !begun.includes(document));
  const active = begun.filter(
    ({ reading }) => reading?.status === "reading" || reading?.status === "waiting",
  );
  const stateBytes = all.reduce((sum, document) => sum + document.stateBytes, 0);

  async function attempt(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      tell(toTarnError(error).message, { kind: "error" });
    }
  }
  async function add(files: readonly File[]): Promise<void> {
    setAdding((count) => count + files.length);
    await onAdd(files);
    setAdding((count) => count - files.length);
  }
  const hovering = useFileDrop((files) => void add(files));
  const read = ({ id }: DocumentInfo): void =>
    void attempt(() => api.call("documents.read", { documentId: id }));
  const pause = ({ id }: DocumentInfo): void =>
    void attempt(() => api.call("documents.pause", { documentId: id }));
  async function append(document: DocumentInfo, file: File): Promise<void> {
    setAdding((count) => count + 1);
    await attempt(async () => {
      const content = await readFileFor(file);
      const longer = await api.call("documents.append", { documentId: document.id, ...content });
      tell(
        `${document.name} has ${formatCount(longer.characters - document.characters)} more characters. What was read stays read.`,
        { action: { label: "Read on", run: () => read(document) } },
      );
    });
    setAdding((count) => count - 1);
  }

  const addButton = (
    <Button
      kind="primary"
      className="lg"
      icon={<Plus className="i s" />}
      onClick={() => chooser.current?.click()}
    >
      Add documents
    </Button>
  );
  const secondsLeft = active.reduce((sum, { reading }) => sum + (reading?.secondsLeft ?? 0), 0);
  return (
    <div className={`scroll library ${hovering ? "drop-here" : ""}`} tabIndex={-1}>
      <div className="page">
        <div className="row" style={{ gap: 12, flexWrap: "wrap" }}>
          <h1 className="title">Documents</h1>
          <span className="q grow hide-narrow">
            A document is read once. Any chat can then start from it at once.
          </span>
          {documents.length > 0 && addButton}
        </div>
        <input
          ref={chooser}
          type="file"
          className="sr"
          tabIndex={-1}
          aria-hidden="true"
          multiple
          accept={ACCEPTED_DOCUMENTS}
          onChange={({ target }) => {
            const files = [...(target.files ?? [])];
            target.value = "";
            void add(files);
          }}
        />
        <input
          ref={appender}
          type="file"
          className="sr"
          tabIndex={-1}
          aria-hidden="true"
          accept={ACCEPTED_DOCUMENTS}
          onChange={({ target }) => {
            const file = target.files?.[0];
            target.value = "";
            if (file !== undefined && appendTo !== null) void append(appendTo, file);
          }}
        />
        {adding > 0 && (
          <p className="row q" role="status" style={{ marginBlockStart: 16 }}>
            <LoaderCircle className="i s animate-spin motion-reduce:animate-none" />
            {`Opening ${formatCount(adding)} ${adding === 1 ? "file" : "files"}`}
          </p>
        )}
        {begun.length > 0 && (
          <>
            <h2 className="hd">
              Reading
              <span className="small q">
                {`${formatCount(begun.length)} ${begun.length === 1 ? "document" : "documents"}`}
                {secondsLeft > 0 ? `, about ${formatSeconds(secondsLeft)} left` : ""}
              </span>
              {active.length > 1 && (
                <span className="end">
                  <Button
                    kind="ghost"
                    icon={<Pause className="i s" />}
                    onClick={() => active.forEach(pause)}
                  >
                    Pause all
                  </Button>
                </span>
              )}
            </h2>
            <div className="digs">
              {begun.map(
                (document) =>
                  document.reading !== null && (
                    <ReadingCard
                      key={document.id}
                      document={document}
                      reading={document.reading}
                      onRead={() => read(document)}
                      onPause={() => pause(document)}
                    />
                  ),
              )}
            </div>
          </>
        )}
        {documents.length === 0 ? (
          <div className="empty">
            <span className="badge">
              <Files className="i" />
            </span>
            <div>
              <h2>No documents yet</h2>
              <p className="q">
                Add a PDF, a book, a Word, Excel or PowerPoint file, a web page or a text. Its words
                can then be searched from any chat, and each answer shows the page it came from.
              </p>
              <div className="row" style={{ marginBlockStart: 12, gap: 12 }}>
                {addButton}
                <span className="qq">or drop files here</span>
              </div>
            </div>
          </div>
        ) : (
          <DocumentTable
            documents={all}
            isBegun={(document) => !others.includes(document)}
            onOpen={onOpen}
            actions={(document) => (
              <>
                {document.reading === null && (
                  <Button
                    className="icon-narrow"
                    icon={<BookOpen className="i s" />}
                    aria-label={`Read ${document.name}`}
                    aria-description={
                      document.tokens === null ? "" : `about ${formatTokens(document.tokens * 2)}`
                    }
                    title="Reads it once, in the background, as a whole and in parts"
                    onClick={() => read(document)}
                  >
                    Read
                  </Button>
                )}
                <Button
                  kind="ghost"
                  className="icon-narrow"
                  title={`Append to ${document.name}`}
                  icon={<FilePlus className="i s" />}
                  aria-label={`Append to ${document.name}`}
                  onClick={() => {
                    setAppendTo(document);
                    appender.current?.click();
                  }}
                >
                  Append
                </Button>
                <Button
                  className="icon-narrow"
                  title={`Ask about ${document.name} in a new chat`}
                  icon={<MessageSquare className="i s" />}
                  aria-label={`Ask ${document.name}`}
                  onClick={() => onAsk(document)}
                >
                  Ask
                </Button>
              </>
            )}
            onRemove={onRemove}
          />
        )}
        {stateBytes > 0 && (
          <p className="foot small q">
            <Layers className="i s" />
            Checkpoints let you ask “as of page 120”, and append pages without reading again.
            <span className="end">{`${formatBytes(stateBytes)} of memory kept`}</span>
          </p>
        )}
      </div>
    </div>
  );
}
