import { Pause, Play } from "lucide-react";
import type { DocumentInfo, DocumentReading } from "../../../main/contract/dto.ts";
import { Button } from "../../ui/Button.tsx";
import { IconButton } from "../../ui/IconButton.tsx";
import { formatTokens } from "../../ui/format.ts";
import { percentOf, restOf, sizeOf, stateOf } from "./document-words.ts";

interface ReadingCardProps {
  readonly document: DocumentInfo;
  readonly reading: DocumentReading;
  onRead(): void;
  onPause(): void;
}

const DOT = {
  waiting: "n",
  reading: "a",
  paused: "w",
  interrupted: "w",
  read: "",
  failed: "d",
} as const satisfies Record<DocumentReading["status"], string>;

/** A document that is being read, or was begun: how far it is, how fast, and pause or resume. */
export function ReadingCard({ document, reading, onRead, onPause }: ReadingCardProps) {
  const { name } = document;
  const percent = percentOf(reading);
  const isActive = reading.status === "reading" || reading.status === "waiting";
  const { done, left } = restOf(reading);
  return (
    <section className="card dig" aria-label={name}>
      <div className="row">
        <i className={`dot ${DOT[reading.status]}`} />
        <span className="small q">{stateOf(reading)}</span>
        <span className="end row">
          {isActive ? (
            <IconButton
              label={`Pause ${name}`}
              icon={<Pause className="i s" />}
              onClick={onPause}
            />
          ) : (
            <Button icon={<Play className="i s" />} aria-label={`Resume ${name}`} onClick={onRead}>
              Resume
            </Button>
          )}
        </span>
      </div>
      <h3 className="strong cut" dir="auto">
        {name}
      </h3>
      <p className="small q">
        {sizeOf(document)}
        {document.tokens === null ? "" : `, ${formatTokens(document.tokens)}`}
      </p>
      <div
        className="meter"
        role="progressbar"
        aria-valuenow={percent}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-label={`Reading ${name}`}
      >
        <i className={isActive ? "" : "n"} style={{ width: `${percent}%` }} />
      </div>
      <div className="row small">
        <span>{`${percent} %${done === "" ? "" : `, ${done}`}`}</span>
        <span className="end q">{left}</span>
      </div>
      {reading.error !== null && (
        <p className="small danger" role="alert">
          {reading.error}
        </p>
      )}
    </section>
  );
}
