import {
  createContext,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useState,
  type ReactNode,
} from "react";
import type {
  Api,
  CallName,
  CallOutput,
  EventData,
  EventName,
} from "../../main/contract/contract.ts";
import { toTarnError } from "./check.ts";

const ApiContext = createContext<Api | null>(null);

export function ApiProvider({
  api,
  children,
}: {
  readonly api: Api;
  readonly children: ReactNode;
}) {
  return <ApiContext value={api}>{children}</ApiContext>;
}

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (api === null) throw new Error("useApi needs an ApiProvider above it.");
  return api;
}

/** Listens to an event for as long as the component is shown; the newest listener is the one that hears. */
export function useApiEvent<N extends EventName>(
  name: N,
  listener: (data: EventData<N>) => void,
): void {
  const api = useApi();
  const newest = useRef(listener);
  useEffect(() => {
    newest.current = listener;
  });
  useEffect(() => api.on(name, (data) => newest.current(data)), [api, name]);
}

/** A value that an argumentless call gives, and the way to ask again. Null until it is there. */
export function useApiValue<
  N extends
    | "chats.list"
    | "documents.list"
    | "models.list"
    | "settings.get"
    | "engine.status"
    | "app.info",
>(
  name: N,
  input: Parameters<Api["call"]>[1],
  onError: (message: string) => void,
): readonly [CallOutput<N> | null, () => void] {
  const api = useApi();
  const [value, setValue] = useState<CallOutput<N> | null>(null);
  const key = JSON.stringify(input);
  const failed = useRef(onError);
  const load = useCallback(() => {
    (api.call as (name: CallName, input: unknown) => Promise<unknown>)(name, JSON.parse(key)).then(
      (output) => setValue(output as CallOutput<N>),
      (error: unknown) => failed.current(toTarnError(error).message),
    );
  }, [api, name, key]);
  useEffect(load, [load]);
  return [value, load];
}
