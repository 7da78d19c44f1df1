import { useMemo, useState } from "react";
import { BookOpen } from "lucide-react";
import type { Passage } from "../../../main/contract/dto.ts";
import { formatCount } from "../../ui/format.ts";
import { excerptFor } from "./excerpt.ts";

interface PassagesProps {
  readonly passages: readonly Passage[];
  /** What was asked: decides which sentence of a passage is marked. */
  readonly question: string;
  onOpen(passage: Passage): void;
}

/** Passages shown before "Show all". */
const FIRST = 3;

/** What was found in the documents and put before the model, each with its place; the place opens the page. */
export function Passages({ passages, question, onOpen }: PassagesProps) {
  const [all, setAll] = useState(false);
  const severalFiles = passages.some(({ documentId }) => documentId !== passages[0]?.documentId);
  return (
    <section className="passages" aria-label="Found passages">
      <div className="row small q" style={{ gap: 6 }}>
        <BookOpen className="i s" />
        <span>Found in the document and read for this answer</span>
      </div>
      <ul>
        {(all ? passages : passages.slice(0, FIRST)).map((passage) => (
          <li key={`${passage.documentId}:${passage.start}`} className="passage">
            <button
              type="button"
              className="cite"
              aria-label={`Open ${passage.file}, ${placeOf(passage)}`}
              onClick={() => onOpen(passage)}
            >
              {severalFiles ? `${passage.file}, ` : ""}
              {placeOf(passage)}
            </button>
            <ExcerptText text={passage.text} question={question} />
          </li>
        ))}
      </ul>
      {passages.length > FIRST && (
        <button
          type="button"
          className="btn g small"
          aria-expanded={all}
          onClick={() => setAll(!all)}
        >
          {all ? "Show fewer" : `Show all ${formatCount(passages.length)} passages`}
        </button>
      )}
    </section>
  );
}

function ExcerptText({ text, question }: { readonly text: string; readonly question: string }) {
  const { before, sentence, after, telling } = useMemo(
    () => excerptFor(text, question),
    [text, question],
  );
  return (
    <p dir="auto">
      {before}
      {telling ? <mark>{sentence}</mark> : sentence}
      {after}
    </p>
  );
}

/** A passage's place in a few letters: its page, or where it begins. */
export function placeOf({ page, start }: Passage): string {
  return page === null ? `at ${formatCount(start)}` : `p. ${page}`;
}
