import type {
  EngineEvent,
  EngineMethod,
  EngineMethods,
  EngineReply,
} from "../../models/engine/protocol.ts";
import type { EngineClient } from "./client.ts";
import { EngineError } from "./engine-error.ts";
import { outputSchemas, replySchema } from "./reply-schemas.ts";

/** The client's end of a port to an engine worker, wherever that runs. */
export interface EngineClientPort {
  postMessage(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  /** The worker died or could not start; nothing more will come. */
  onClosed(listener: (reason: Error) => void): void;
  /** Ends the worker; resolves when it is gone. */
  close(): Promise<void>;
}

interface Pending {
  readonly onEvent: ((event: EngineEvent) => void) | undefined;
  resolve(output: unknown): void;
  reject(error: Error): void;
}

/** An engine client over any port: numbers the requests, checks every reply, cancels by AbortSignal. */
export function createPortClient(port: EngineClientPort): EngineClient {
  const pending = new Map<number, Pending>();
  let nextId = 1;
  let gone: EngineError | null = null;

  function fail(reason: string): void {
    gone ??= new EngineError({ code: "internal", message: reason, data: {} });
    for (const request of pending.values()) request.reject(gone);
    pending.clear();
  }

  function settle(reply: EngineReply): void {
    const request = pending.get(reply.id);
    if (request === undefined) return; // Answered before, or the answer to a cancel.
    if (reply.kind === "event") {
      request.onEvent?.(reply.event);
      return;
    }
    pending.delete(reply.id);
    if (reply.kind === "done") request.resolve(reply.output);
    else request.reject(new EngineError(reply.error));
  }

  port.onMessage((message) => {
    const reply = replySchema.safeParse(message);
    if (reply.success) settle(reply.data);
    else
      fail(
        `The engine sent a message that is not part of its protocol: ${reply.error.issues[0]?.message ?? "unreadable"}.`,
      );
  });
  port.onClosed((reason) => fail(`The engine ended unexpectedly: ${reason.message}`));

  async function call<M extends EngineMethod>(
    method: M,
    input: EngineMethods[M]["in"],
    options: {
      readonly signal?: AbortSignal;
      readonly onEvent?: (event: EngineEvent) => void;
    } = {},
  ): Promise<EngineMethods[M]["out"]> {
    if (gone !== null) throw gone;
    const id = nextId++;
    const cancel = (): void =>
      port.postMessage({ id: nextId++, method: "cancel", input: { target: id } });
    try {
      const output = await new Promise<unknown>((resolve, reject) => {
        pending.set(id, { onEvent: options.onEvent, resolve, reject });
        port.postMessage({ id, method, input });
        if (options.signal?.aborted === true) cancel();
        else options.signal?.addEventListener("abort", cancel, { once: true });
      });
      const checked = outputSchemas[method].safeParse(output);
      if (checked.success) return checked.data;
      throw new EngineError({
        code: "internal",
        message: `The engine answered "${method}" with something else than was agreed: ${checked.error.issues[0]?.message ?? "unreadable"}.`,
        data: { method },
      });
    } finally {
      options.signal?.removeEventListener("abort", cancel);
    }
  }

  return {
    call,
    async close() {
      fail("The engine was closed.");
      await port.close();
    },
  };
}
