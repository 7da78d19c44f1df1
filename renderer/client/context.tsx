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

/** A value that a call gives, the way to ask again, and the way to take it from an event that carries it. Null until it is there. */
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
): readonly [CallOutput<N> | null, () => void, (value: CallOutput<N>) => void] {
  const api = useApi();
  const [value, setValue] = useState<CallOutput<N> | null>(null);
  const key = JSON.stringify(input);
  const failed = useRef(onError);
  /** The newest question: answers to older ones, of a search that was typed on, come too late. */
  const asked = useRef(0);
  const take = useCallback((next: CallOutput<N>) => {
    asked.current++;
    setValue(next);
  }, []);
  const load = useCallback(() => {
    const question = ++asked.current;
    (api.call as (name: CallName, input: unknown) => Promise<unknown>)(name, JSON.parse(key)).then(
      (output) => {
        if (question === asked.current) setValue(output as CallOutput<N>);
      },
      (error: unknown) => failed.current(toTarnError(error).message),
    );
  }, [api, name, key]);
  useEffect(load, [load]);
  return [value, load, take];
}
