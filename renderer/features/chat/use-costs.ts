import { useEffect, useMemo, useState } from "react";
import type { Chat, ChatCosts, Cost, EngineStatus } from "../../../main/contract/dto.ts";
import { useApi, useApiEvent } from "../../client/context.tsx";
import { formatSeconds, formatTokens } from "../../ui/format.ts";
import { isTransient } from "./chat-state.ts";

/** What going on from a message costs. */
export type MessageCosts = ChatCosts["messages"][number];

export interface ShownCosts {
  of(messageId: string): MessageCosts | undefined;
  /** Why the end of the chat is not stored for this model; null where it is, or while nothing is known. */
  readonly reason: ChatCosts["reason"];
  /** Of standing at the end of the chat. */
  readonly end: Cost | null;
}

/** The costs of the chat that is shown, asked again when an answer is complete, another branch is shown or a model is ready. */
export function useCosts(chat: Chat | null, status: EngineStatus | null): ShownCosts {
  const api = useApi();
  const [known, setKnown] = useState<{ chatId: string; costs: ChatCosts } | null>(null);
  const [changes, setChanges] = useState(0);
  const chatId = chat?.id ?? null;
  const isResting = chat !== null && !chat.messages.some(isTransient);
  const tipId = chat?.messages.at(-1)?.id ?? null;
  const model = status !== null && isLoaded(status) ? status.modelId : null;

  useApiEvent("chats.changed", () => setChanges((count) => count + 1));
  useEffect(() => {
    if (chatId === null || !isResting || model === null) return;
    let isWanted = true;
    api.call("chats.cost", { chatId }).then(
      (costs) => isWanted && setKnown(costs === null ? null : { chatId, costs }),
      // Buttons without a figure still work, and say what went wrong when they are used.
      () => isWanted && setKnown(null),
    );
    return () => {
      isWanted = false;
    };
  }, [api, chatId, isResting, tipId, model, changes]);

  return useMemo(() => {
    const costs = known !== null && known.chatId === chatId ? known.costs : null;
    const byId = new Map(costs?.messages.map((message) => [message.messageId, message]));
    return {
      of: (messageId) => byId.get(messageId),
      reason: costs?.reason ?? null,
      end: costs?.messages.at(-1)?.behind ?? null,
    };
  }, [known, chatId]);
}

function isLoaded({ phase }: EngineStatus): boolean {
  return phase === "ready" || phase === "reading" || phase === "writing" || phase === "rebuilding";
}

/** "0 tokens", "1,840 tokens, about 3 s". */
export function formatCost({ tokens, seconds }: Cost): string {
  const time = seconds === null || seconds < 0.5 ? "" : `, about ${formatSeconds(seconds)}`;
  return `${formatTokens(tokens)}${time}`;
}
