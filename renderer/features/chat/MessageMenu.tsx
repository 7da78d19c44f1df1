import { Download, Ellipsis, Fingerprint, Pin, PinOff, Trash2 } from "lucide-react";
import type { Message } from "../../../main/contract/dto.ts";
import { IconButton } from "../../ui/IconButton.tsx";
import { Menu } from "../../ui/Menu.tsx";
import type { MessageActions } from "./message-actions.ts";
import type { MessageCosts } from "./use-costs.ts";

interface MessageMenuProps {
  readonly message: Message;
  /** Undefined while they are not known. */
  readonly costs: MessageCosts | undefined;
  readonly actions: MessageActions;
  /** Shows how an answer came to be. */
  onProvenance?(): void;
}

/** What is done with a message now and then: with its memory, and with the branch that it begins. */
export function MessageMenu({ message, costs, actions, onProvenance }: MessageMenuProps) {
  const isPinned = costs?.isPinned === true;
  return (
    <Menu
      trigger={<IconButton label="Message menu" icon={<Ellipsis className="i s" />} />}
      items={[
        ...(onProvenance === undefined
          ? []
          : [
              {
                label: "How this answer came to be",
                icon: <Fingerprint className="i s" />,
                run: onProvenance,
              },
            ]),
        isPinned
          ? {
              label: "Let this state go",
              icon: <PinOff className="i s" />,
              run: () => actions.keepState(message, false),
            }
          : {
              label: "Keep this state",
              icon: <Pin className="i s" />,
              run: () => actions.keepState(message, true),
            },
        {
          label: "Save memory…",
          icon: <Download className="i s" />,
          run: () => actions.saveMemory(message),
        },
        {
          label: "Delete from here",
          icon: <Trash2 className="i s" />,
          danger: true,
          run: () => actions.deleteFrom(message.id),
        },
      ]}
    />
  );
}
