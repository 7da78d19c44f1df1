import type { EventData, EventName } from "../contract/contract.ts";

type AnyListener = (name: EventName, data: EventData<EventName>) => void;

/** Where services say what happened, and shells pass it on. */
export interface Events {
  emit<N extends EventName>(name: N, data: EventData<N>): void;
  /** Hears everything. Returns the way to stop listening. */
  subscribe(listener: AnyListener): () => void;
}

export function createEvents(): Events {
  const listeners = new Set<AnyListener>();
  return {
    emit(name, data) {
      for (const listener of listeners) listener(name, data);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
