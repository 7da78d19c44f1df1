import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";
import { ArrowUp, FileText, FileWarning, LoaderCircle, Paperclip, Square, X } from "lucide-react";
import type { CallOutput } from "../../../main/contract/contract.ts";
import type { DocumentInfo } from "../../../main/contract/dto.ts";
import { useApi } from "../../client/context.tsx";
import { ACCEPTED_DOCUMENTS } from "../../client/import-document.ts";
import { formatBytes, formatCount, formatSeconds, formatTokens } from "../../ui/format.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { useFileDrop } from "../../ui/use-file-drop.ts";
import { useAttachments, type AttachedDocument, type Attachment } from "./use-attachments.ts";

export type Reading = "search" | "whole";

interface ComposerProps {
  readonly modelName: string | null;
  /** Shown, so that files dropped anywhere are for it. */
  readonly active: boolean;
  /** From Send until the answer is complete. */
  readonly busy: boolean;
  /** Text to begin with, from a suggestion. */
  readonly suggestion: { readonly text: string } | null;
  /** A document of the library to begin with. */
  readonly attached: AttachedDocument | null;
  /** True when the message is stored; its text then leaves the box. */
  onSend(text: string, documents: readonly AttachedDocument[], reading: Reading): Promise<boolean>;
  onStop(): void;
  onEditLast(): void;
}

/** The box for the next message, with its attachments. Send becomes Stop in the same place. */
export function Composer({
  modelName,
  active,
  busy,
  suggestion,
  attached,
  onSend,
  onStop,
  onEditLast,
}: ComposerProps) {
  const [text, setText] = useState("");
  const [reading, setReading] = useState<Reading>("search");
  /** Sent, and waiting for a file that is still being extracted. */
  const [queued, setQueued] = useState<{ cancelled: boolean } | null>(null);
  const attachments = useAttachments();
  const box = useRef<HTMLTextAreaElement>(null);
  const over = useFileDrop(active ? attachments.add : null);
  const chooser = useRef<HTMLInputElement>(null);
  const running = busy || queued !== null;
  const blocked = text.trim() === "" || attachments.all.some(({ state }) => state === "failed");

  useEffect(() => {
    if (suggestion === null) return;
    setText(suggestion.text);
    box.current?.focus();
  }, [suggestion]);
  const { addKnown } = attachments;
  useEffect(() => {
    if (attached === null) return;
    addKnown(attached);
    if (attached.asOf !== null) setReading("whole");
    box.current?.focus();
  }, [attached, addKnown]);
  useLayoutEffect(() => {
    const area = box.current;
    if (area === null) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [text]);

  async function send(): Promise<void> {
    if (blocked || running) return;
    const turn = { cancelled: false };
    setQueued(turn);
    try {
      const documents = await attachments.settled();
      if (turn.cancelled || documents === null) return;
      if (await onSend(text.trim(), documents, documents.length === 0 ? "search" : reading)) {
        setText("");
        setReading("search");
        attachments.clear();
      }
    } finally {
      setQueued(null);
    }
  }

  function stop(): void {
    if (queued !== null) queued.cancelled = true;
    onStop();
  }

  function onKeyDown(event: KeyboardEvent): void {
    // An input method uses Enter to accept a word.
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void send();
    } else if (event.key === "Escape" && running) {
      stop();
    } else if (event.key === "ArrowUp" && text === "" && !running) {
      onEditLast();
    }
  }

  const ready = attachments.all
    .filter((one) => one.state === "ready")
    .map(({ document }) => document);
  return (
    <form
      className={`composer ${over ? "drop" : ""}`}
      aria-label="Composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {attachments.all.length > 0 && (
        <div className="row" style={{ padding: "2px 2px 4px", flexWrap: "wrap" }}>
          {attachments.all.map((one) => (
            <Chip key={one.key} attachment={one} onRemove={() => attachments.remove(one.key)} />
          ))}
        </div>
      )}
      {ready.length > 0 && (
        <ReadingChoice documents={ready} reading={reading} onChange={setReading} />
      )}
      <textarea
        ref={box}
        aria-label="Message"
        placeholder={modelName === null ? "Message" : `Message ${modelName}`}
        rows={1}
        dir="auto"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
        onPaste={(event) => {
          if (event.clipboardData.files.length > 0) attachments.add(event.clipboardData.files);
        }}
      />
      <input
        ref={chooser}
        type="file"
        className="sr"
        tabIndex={-1}
        aria-hidden="true"
        multiple
        accept={ACCEPTED_DOCUMENTS}
        onChange={(event) => {
          attachments.add(event.target.files ?? []);
          event.target.value = "";
        }}
      />
      <div className="row">
        <IconButton
          label="Attach"
          icon={<Paperclip className="i s" />}
          onClick={() => chooser.current?.click()}
        />
        <span className="end row" style={{ gap: 12 }}>
          {queued !== null &&
            !busy &&
            attachments.all.some(({ state }) => state === "extracting") && (
              <span className="small q">Waits for the file.</span>
            )}
          <span className="small qq hide-n hint">
            <kbd>Enter</kbd> send &ensp;<kbd>Shift Enter</kbd> new line
          </span>
          {/* One button whose name changes, so that the focus stays where it was. */}
          <IconButton
            label={running ? "Stop" : "Send"}
            kind="primary"
            icon={running ? <Square className="i s solid" /> : <ArrowUp className="i s" />}
            aria-disabled={!running && blocked}
            style={!running && blocked ? { opacity: 0.55 } : undefined}
            onClick={() => (running ? stop() : void send())}
          />
        </span>
      </div>
    </form>
  );
}

function Chip({ attachment, onRemove }: { readonly attachment: Attachment; onRemove(): void }) {
  const failed = attachment.state === "failed";
  return (
    <span
      className={`chip ${failed ? "bad" : ""}`}
      style={failed ? { height: "auto", whiteSpace: "normal" } : undefined}
    >
      {attachment.state === "extracting" ? (
        <LoaderCircle className="i s animate-spin motion-reduce:animate-none" />
      ) : failed ? (
        <FileWarning className="i s" />
      ) : (
        <FileText className="i s" />
      )}
      <span className={failed ? "" : "cut"} role={failed ? "alert" : undefined}>
        {failed ? (
          attachment.reason
        ) : (
          <>
            <b>{attachment.name}</b>
            {attachment.state === "extracting" ? ", being opened" : sizeOf(attachment)}
          </>
        )}
      </span>
      <button type="button" aria-label={`Remove ${attachment.name}`} onClick={onRemove}>
        <X className="i s" />
      </button>
    </span>
  );
}

function sizeOf({ document: { pages, pageUnit, tokens }, asOf }: AttachedDocument): string {
  const unit = pageUnit ?? "page";
  if (asOf !== null) return `, as of ${unit} ${asOf}`;
  const parts = [
    pages === null ? null : `${pages} ${pages === 1 ? unit : `${unit}s`}`,
    tokens === null ? null : formatTokens(tokens),
  ];
  return parts.map((part) => (part === null ? "" : `, ${part}`)).join("");
}

interface ReadingChoiceProps {
  readonly documents: readonly DocumentInfo[];
  readonly reading: Reading;
  onChange(reading: Reading): void;
}

/** Search the document, or read all of it: with the cost of each before the click. */
function ReadingChoice({ documents, reading, onChange }: ReadingChoiceProps) {
  const api = useApi();
  const [cost, setCost] = useState<CallOutput<"documents.cost"> | null>(null);
  const ids = documents.map(({ id }) => id).join(" ");
  useEffect(() => {
    let current = true;
    // Without an estimate the choice stays, just without its price.
    api.call("documents.cost", { documentIds: ids.split(" ") }).then(
      (next) => current && setCost(next),
      () => current && setCost(null),
    );
    return () => {
      current = false;
    };
  }, [api, ids]);
  const price = cost === null ? "" : ` ${priceOf(cost)}`;
  const parts =
    cost === null || cost.parts.count === 0
      ? ""
      : `; where its words find nothing, asks ${formatCount(cost.parts.count)} parts: ${priceOf(cost.parts)}`;
  const choices = [
    { value: "search", label: "Search it", detail: ` finds passages for each question${parts}` },
    { value: "whole", label: "Read all of it", detail: price },
  ] as const;
  return (
    <fieldset className="row small" style={{ padding: "0 6px 4px", flexWrap: "wrap", gap: 16 }}>
      <legend className="sr">How the document is used</legend>
      {choices.map(({ value, label, detail }) => (
        <label key={value} className="row" style={{ gap: 6 }}>
          <input
            type="radio"
            name="reading"
            style={{ accentColor: "var(--accent)" }}
            checked={reading === value}
            onChange={() => onChange(value)}
          />
          <span>
            {label}
            <span className="q">{detail}</span>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

function priceOf({ tokens, seconds, bytes }: Omit<CallOutput<"documents.cost">, "parts">): string {
  return [
    formatTokens(tokens),
    ...(seconds === null ? [] : [`about ${formatSeconds(seconds)}`]),
    `${formatBytes(bytes)} of memory`,
  ].join(", ");
}
