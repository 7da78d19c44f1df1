import type { EventData, EventName } from "../../main/contract/contract.ts";
import { checkEvent, isEventName } from "./check.ts";

/** Who listens to which event of the contract. */
export class Listeners {
  private readonly byName = new Map<EventName, Set<(data: unknown) => void>>();

  on<N extends EventName>(name: N, listener: (data: EventData<N>) => void): () => void {
    const heard = (data: unknown): void => {
      const checked = checkEvent(name, data);
      if (checked !== null) listener(checked);
    };
    const all = this.byName.get(name) ?? new Set();
    this.byName.set(name, all.add(heard));
    return () => void all.delete(heard);
  }

  emit(name: string, data: unknown): void {
    if (!isEventName(name)) return;
    for (const listener of this.byName.get(name) ?? []) listener(data);
  }
}
