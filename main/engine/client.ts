import type { EngineEvent, EngineMethod, EngineMethods } from "../../models/engine/protocol.ts";

/** What services see of the engine, wherever its worker runs. */
export interface EngineClient {
  /**
   * Sends a request and waits for its answer.
   * `signal` cancels it (it then resolves with what was completed); `onEvent` gets its events in order.
   * @throws EngineError with the worker's code
   */
  call<M extends EngineMethod>(
    method: M,
    input: EngineMethods[M]["in"],
    options?: { readonly signal?: AbortSignal; readonly onEvent?: (event: EngineEvent) => void },
  ): Promise<EngineMethods[M]["out"]>;
  /** Ends the worker and its threads. */
  close(): Promise<void>;
}
