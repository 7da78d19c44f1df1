import { useEffect, useRef, useState } from "react";
import type { Message, Settings } from "../../../main/contract/dto.ts";
import { formatTokens } from "../../ui/format.ts";
import { isTransient } from "./chat-state.ts";

interface AnnouncerProps {
  readonly answer: Message | undefined;
  readonly announce: Settings["announce"];
}

/** One polite region beside the log: a token at a time would drown speech, so it says whole paragraphs. */
export function Announcer({ answer, announce }: AnnouncerProps) {
  const [said, setSaid] = useState("");
  const spoken = useRef({ id: "", length: 0, writing: false });

  useEffect(() => {
    if (answer === undefined || announce === "nothing") return;
    if (spoken.current.id !== answer.id) {
      // An answer that was complete when it came on the screen is not read out.
      spoken.current = {
        id: answer.id,
        length: isTransient(answer) ? 0 : answer.text.length,
        writing: isTransient(answer),
      };
      if (isTransient(answer)) setSaid("Writing");
      return;
    }
    if (!isTransient(answer) && spoken.current.writing) {
      spoken.current.writing = false;
      setSaid(`${answer.text.slice(spoken.current.length)} Done, ${formatTokens(answer.tokens)}`);
    } else if (announce === "paragraphs") {
      const end = answer.text.lastIndexOf("\n\n");
      if (end > spoken.current.length) {
        setSaid(answer.text.slice(spoken.current.length, end));
        spoken.current.length = end;
      }
    }
  }, [answer, announce]);

  return (
    <div className="sr" aria-live="polite">
      {said}
    </div>
  );
}
