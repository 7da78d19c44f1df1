import { ChevronLeft, ChevronRight } from "lucide-react";
import type { Message } from "../../../main/contract/dto.ts";
import { IconButton } from "../../ui/IconButton.tsx";

interface VersionsProps {
  readonly message: Message;
  readonly noun: "answer" | "message";
  onSelect(messageId: string): void;
}

/** "2/3" with a step back and forth between the alternatives at one place. */
export function Versions({ message, noun, onSelect }: VersionsProps) {
  const { siblings } = message;
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(message.id);
  const previous = siblings[at - 1];
  const next = siblings[at + 1];
  return (
    <span
      className="end row"
      style={{ gap: 0 }}
      role="group"
      aria-label={`Versions of this ${noun}`}
    >
      <IconButton
        label="Previous version"
        icon={<ChevronLeft className="i s flip" />}
        disabled={previous === undefined}
        onClick={() => previous !== undefined && onSelect(previous)}
      />
      <span
        className="small q"
        style={{ minWidth: 28, textAlign: "center" }}
      >{`${at + 1}/${siblings.length}`}</span>
      <IconButton
        label="Next version"
        icon={<ChevronRight className="i s flip" />}
        disabled={next === undefined}
        onClick={() => next !== undefined && onSelect(next)}
      />
    </span>
  );
}
