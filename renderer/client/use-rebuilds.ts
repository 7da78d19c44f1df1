import { useCallback, useEffect, useState } from "react";
import type { ChatRebuild } from "../../main/contract/dto.ts";
import { useApi, useApiEvent } from "./context.tsx";

/** The chats that are read again, or wait for it, as far as they are. */
export function useRebuilds(): readonly ChatRebuild[] {
  const api = useApi();
  const [rebuilds, setRebuilds] = useState<readonly ChatRebuild[]>([]);
  const reload = useCallback(() => {
    // Without them everything works; the next change asks again.
    api.call("chats.rebuilds", {}).then(setRebuilds, () => undefined);
  }, [api]);
  useEffect(reload, [reload]);
  useApiEvent("rebuilds.changed", reload);
  useApiEvent("rebuild.progress", (next) =>
    setRebuilds((all) => all.map((one) => (one.chatId === next.chatId ? next : one))),
  );
  return rebuilds;
}
