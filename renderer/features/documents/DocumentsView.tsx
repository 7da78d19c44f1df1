import { useRef, useState, type DragEvent } from "react";
import { FileText, Files, LoaderCircle, MessageSquare, Plus, Trash2 } from "lucide-react";
import type { DocumentInfo } from "../../../main/contract/dto.ts";
import { ACCEPTED_DOCUMENTS } from "../../client/import-document.ts";
import { Button } from "../../ui/Button.tsx";
import { formatBytes, formatCount } from "../../ui/format.ts";
import { IconButton } from "../../ui/IconButton.tsx";

interface DocumentsViewProps {
  readonly documents: readonly DocumentInfo[];
  /** Resolves when each file is in the library or was refused, and said so. */
  onAdd(files: readonly File[]): Promise<void>;
  onOpen(documentId: string): void;
  /** A new chat that begins with it. */
  onAsk(document: DocumentInfo): void;
  onRemove(document: DocumentInfo): void;
}

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** The library: every document that was added or attached once. */
export function DocumentsView({ documents, onAdd, onOpen, onAsk, onRemove }: DocumentsViewProps) {
  const chooser = useRef<HTMLInputElement>(null);
  const [adding, setAdding] = useState(0);

  async function add(files: Iterable<File>): Promise<void> {
    const all = [...files];
    setAdding((count) => count + all.length);
    await onAdd(all);
    setAdding((count) => count - all.length);
  }

  function onDrop(event: DragEvent): void {
    event.preventDefault();
    void add(event.dataTransfer.files);
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
  return (
    <div
      className="scroll"
      tabIndex={-1}
      onDragOver={(event) => event.preventDefault()}
      onDrop={onDrop}
    >
      <div className="page">
        <div className="row" style={{ gap: 12, flexWrap: "wrap" }}>
          <h1 className="title">Documents</h1>
          <span className="q grow">Kept on this computer, and searched when you ask.</span>
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
        {adding > 0 && (
          <p className="row q" role="status" style={{ marginBlockStart: 16 }}>
            <LoaderCircle className="i s animate-spin motion-reduce:animate-none" />
            {`Opening ${formatCount(adding)} ${adding === 1 ? "file" : "files"}`}
          </p>
        )}
        {documents.length === 0 ? (
          <div className="empty">
            <span className="badge">
              <Files className="i" />
            </span>
            <div>
              <h2>No documents yet</h2>
              <p className="q">
                Add a PDF, a web page, Markdown or a text. Its words can then be searched from any
                chat, and each answer shows the page it came from.
              </p>
              <div className="row" style={{ marginBlockStart: 12, gap: 12 }}>
                {addButton}
                <span className="qq">or drop files here</span>
              </div>
            </div>
          </div>
        ) : (
          <table className="entries">
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col" className="n hide-n">
                  Tokens
                </th>
                <th scope="col" className="n hide-n">
                  Size
                </th>
                <th scope="col" className="hide-n">
                  Added
                </th>
                <th scope="col">
                  <span className="sr">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {documents.map((document) => (
                <tr key={document.id}>
                  <td>
                    <div className="row" style={{ gap: 12 }}>
                      <FileText className="i" style={{ color: "var(--ink-3)" }} />
                      <div style={{ minWidth: 0 }}>
                        <button
                          type="button"
                          className="entry-name cut"
                          dir="auto"
                          aria-label={`Open ${document.name}`}
                          onClick={() => onOpen(document.id)}
                        >
                          {document.name}
                        </button>
                        <div className="small q">{sizeOf(document)}</div>
                      </div>
                    </div>
                  </td>
                  <td className="n hide-n">
                    {document.tokens === null ? "" : formatCount(document.tokens)}
                  </td>
                  <td className="n hide-n q">{formatBytes(document.bytes)}</td>
                  <td className="hide-n q">{day.format(document.createdAt)}</td>
                  <td>
                    <div className="row" style={{ justifyContent: "flex-end" }}>
                      <Button
                        icon={<MessageSquare className="i s" />}
                        aria-label={`Ask ${document.name}`}
                        onClick={() => onAsk(document)}
                      >
                        Ask
                      </Button>
                      <IconButton
                        label={`Remove ${document.name}`}
                        icon={<Trash2 className="i s" />}
                        onClick={() => onRemove(document)}
                      />
                    </div>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
    </div>
  );
}

function sizeOf({ pages, characters }: DocumentInfo): string {
  if (pages === null) return `${formatCount(characters)} characters`;
  return `${formatCount(pages)} ${pages === 1 ? "page" : "pages"}`;
}
