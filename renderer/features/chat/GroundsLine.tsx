import { Quote } from "lucide-react";
import type { Grounds, Passage } from "../../../main/contract/dto.ts";
import { placeOf } from "./Passages.tsx";

interface GroundsLineProps {
  readonly grounds: Grounds;
  /** The sentences that say what the answer says. */
  readonly cited: readonly Passage[];
  onOpen(passage: Passage): void;
}

/** How an answer about documents came about, in one quiet line, and the places that it stands on. */
export function GroundsLine({ grounds, cited, onOpen }: GroundsLineProps) {
  return (
    <div className="grounds">
      <p
        className="small q row"
        style={{ gap: 6, flexWrap: "wrap" }}
        data-way={grounds.way}
        data-origin={grounds.origin}
      >
        <Quote className="i s" />
        <span>{wordsFor(grounds)}</span>
        {cited.map((passage) => (
          <button
            key={`${passage.documentId}:${passage.start}`}
            type="button"
            className="cite"
            title={passage.text}
            aria-label={`Open the sentence in ${passage.file}, ${placeOf(passage)}`}
            onClick={() => onOpen(passage)}
          >
            {placeOf(passage)}
          </button>
        ))}
      </p>
      {/* A quoted sentence is the answer itself. */}
      {grounds.origin === "model" &&
        cited.map(({ start, text }) => (
          <q key={start} className="small q" dir="auto">
            {text.replaceAll(/\s+/g, " ")}
          </q>
        ))}
    </div>
  );
}

function wordsFor({ way, origin, isFound }: Grounds): string {
  switch (origin) {
    case "refusal":
      return way === "whole"
        ? "From memory of the whole document."
        : "Looked up: no sentence answers this.";
    case "quote":
      return "Quoted: the model's own words were not in the document.";
    case "model":
      if (!isFound) return "Check this: no sentence of the document says it.";
      switch (way) {
        case "whole":
          return "From memory of the whole document, which says so at";
        case "twice":
          return "From memory, with this read again for the question:";
        case "chunks":
          return "Every part was asked; the surest one says so at";
        case "look-up":
          return "Looked up, and the document says so at";
      }
  }
}
