import { useState } from "react";
import { BookOpen } from "lucide-react";
import type { Passage } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";

interface PassagesProps {
  readonly passages: readonly Passage[];
  onOpen(passage: Passage): void;
}

/** What was found in the documents and put before the model, each with its place. */
export function Passages({ passages, onOpen }: PassagesProps) {
  const [open, setOpen] = useState<number | null>(null);
  const shown = open === null ? undefined : passages[open];
  return (
    <section className="mt-2" aria-label="Found passages">
      <div className="row small q" style={{ flexWrap: "wrap", gap: 6 }}>
        <span>Found in</span>
        {passages.map((passage, index) => (
          <button
            key={`${passage.documentId}:${passage.start}`}
            type="button"
            className={`cite ${open === index ? "on" : ""}`}
            aria-expanded={open === index}
            aria-label={`${passage.file}, ${placeOf(passage)}`}
            onClick={() => setOpen(open === index ? null : index)}
          >
            {passages.some(({ documentId }) => documentId !== passage.documentId) ? `${passage.file}, ` : ""}
            {placeOf(passage)}
          </button>
        ))}
      </div>
      {shown !== undefined && (
        <div className="passage">
          <p dir="auto">{shown.text}</p>
          <div className="acts" style={{ visibility: "visible" }}>
            <Button kind="ghost" icon={<BookOpen className="i s" />} onClick={() => onOpen(shown)}>
              {`Open ${placeOf(shown)}`}
            </Button>
          </div>
        </div>
      )}
    </section>
  );
}

function placeOf({ page, start }: Passage): string {
  return page === null ? `at ${start.toLocaleString("en")}` : `p. ${page}`;
}
