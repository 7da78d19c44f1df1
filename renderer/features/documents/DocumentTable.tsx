import type { ReactNode } from "react";
import { FileText, Trash2 } from "lucide-react";
import type { DocumentInfo } from "../../../main/contract/dto.ts";
import { formatBytes, formatCount, formatSeconds } from "../../ui/format.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { percentOf, sizeOf } from "./document-words.ts";

interface DocumentTableProps {
  readonly documents: readonly DocumentInfo[];
  /** Whether it is shown as being read above. */
  isBegun(document: DocumentInfo): boolean;
  onOpen(documentId: string): void;
  onRemove(document: DocumentInfo): void;
  /** Buttons of a row. */
  actions(document: DocumentInfo): ReactNode;
}

/** Every document of the library: its size, whether it is read, and what it holds on disk. */
export function DocumentTable({
  documents,
  isBegun,
  onOpen,
  onRemove,
  actions,
}: DocumentTableProps) {
  return (
    <table className="entries">
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col" className="n hide-narrow">
            Tokens
          </th>
          <th scope="col" className="n hide-narrow">
            Read in
          </th>
          <th scope="col" className="n hide-narrow">
            Checkpoints
          </th>
          <th scope="col" className="hide-narrow">
            Used in
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
                  <div className="small q cut" title={document.notice ?? undefined}>
                    {sizeOf(document)}
                    {`, ${formatBytes(document.bytes)}`}
                    {document.notice === null ? "" : `. ${document.notice}`}
                  </div>
                </div>
              </div>
            </td>
            <td className="n hide-narrow">
              {document.tokens === null ? "" : formatCount(document.tokens)}
            </td>
            <td className="n hide-narrow q">{readIn(document, isBegun(document))}</td>
            <td className="n hide-narrow">
              {document.checkpoints > 0 && (
                <>
                  {formatCount(document.checkpoints)}
                  <div className="small q">{formatBytes(document.stateBytes)}</div>
                </>
              )}
            </td>
            <td className="hide-narrow q">{usedIn(document)}</td>
            <td>
              <div className="row" style={{ justifyContent: "flex-end" }}>
                {actions(document)}
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
  );
}

function readIn({ reading }: DocumentInfo, isBegun: boolean): string {
  if (reading === null) return "unread";
  return isBegun ? `${percentOf(reading)} %` : formatSeconds(reading.seconds);
}

function usedIn({ chats }: DocumentInfo): string {
  if (chats === 0) return "no chat yet";
  return `${formatCount(chats)} ${chats === 1 ? "chat" : "chats"}`;
}
