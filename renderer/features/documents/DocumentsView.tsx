import { FileText, Trash2 } from "lucide-react";
import type { DocumentInfo } from "../../../main/contract/dto.ts";
import { formatBytes, formatTokens } from "../../ui/format.ts";
import { Button } from "../../ui/Button.tsx";

interface DocumentsViewProps {
  readonly documents: readonly DocumentInfo[];
  onOpen(documentId: string): void;
  onRemove(document: DocumentInfo): void;
}

/** Every document that was attached once. */
export function DocumentsView({ documents, onOpen, onRemove }: DocumentsViewProps) {
  return (
    <div className="scroll" tabIndex={-1}>
      <div className="page">
        <h1>Documents</h1>
        <p className="q" style={{ margin: "6px 0 16px" }}>The text of each file is kept here, on this computer, and searched when you ask about it.</p>
        {documents.length === 0 && <p className="q">Nothing yet. Attach a file to a message with the paper clip, or drop it on the message box.</p>}
        <ul className={documents.length === 0 ? "" : "card"}>
          {documents.map((document) => (
            <li key={document.id} className="table-row">
              <FileText className="i" style={{ color: "var(--ink-3)" }} />
              <div className="grow">
                <div className="strong cut" dir="auto">{document.name}</div>
                <div className="small q">
                  {[
                    document.pages === null ? null : `${document.pages} ${document.pages === 1 ? "page" : "pages"}`,
                    document.tokens === null ? null : formatTokens(document.tokens),
                    formatBytes(document.bytes),
                    new Date(document.createdAt).toLocaleDateString(),
                  ].filter((part) => part !== null).join(", ")}
                </div>
              </div>
              <Button aria-label={`Open ${document.name}`} onClick={() => onOpen(document.id)}>Open</Button>
              <Button kind="ghost" icon={<Trash2 className="i s" />} aria-label={`Remove ${document.name}`} onClick={() => onRemove(document)}>Remove</Button>
            </li>
          ))}
        </ul>
      </div>
    </div>
  );
}
