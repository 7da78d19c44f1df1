import { backendCandidates, type BackendCandidate } from "./backends.ts";
import { createEngine } from "./engine.ts";
import { toFailure } from "./failure.ts";
import type { EngineHost } from "./host.ts";
import type { EngineReply, EngineRequest } from "./protocol.ts";
import { readEnvelope, readRequest } from "./requests.ts";
import { createYield } from "./yield.ts";

type WorkRequest = Exclude<EngineRequest, { readonly method: "cancel" }>;

/**
 * Runs the engine behind the host's message port until the host ends the thread. Requests are worked on one after
 * the other in the order of their arrival; only `cancel` overtakes.
 * @param candidates the backends, best first; tests pass a broken one
 */
export function startEngine(
  host: EngineHost,
  candidates: readonly BackendCandidate[] = backendCandidates(host),
): void {
  const engine = createEngine(host, candidates);
  const open = new Map<number, AbortController>();
  const letMessagesIn = createYield();
  let last: Promise<void> = Promise.resolve();

  const reply = (message: EngineReply, transfer?: readonly ArrayBuffer[]): void =>
    host.port.postMessage(message, transfer);

  async function work(request: WorkRequest, controller: AbortController): Promise<void> {
    try {
      const output = await engine.handle(request, {
        signal: controller.signal,
        emit: (event) => reply({ id: request.id, kind: "event", event }),
        yield: letMessagesIn,
      });
      reply({ id: request.id, kind: "done", output }, transferable(output));
    } catch (error) {
      reply({ id: request.id, kind: "failed", error: toFailure(error) });
    } finally {
      open.delete(request.id);
    }
  }

  host.port.onMessage((message) => {
    const envelope = readEnvelope(message);
    if (envelope === null) return; // Nobody waits for an answer to what has no id.
    try {
      const request = readRequest(envelope);
      if (request.method === "cancel") {
        open.get(request.input.target)?.abort();
        reply({ id: request.id, kind: "done", output: null });
        return;
      }
      const controller = new AbortController();
      open.set(request.id, controller);
      // Requests need not wait for the event loop themselves; a cancel of the next one still comes before it.
      last = last.then(() => work(request, controller)).then(letMessagesIn);
    } catch (error) {
      reply({ id: envelope.id, kind: "failed", error: toFailure(error) });
    }
  });
}

/** Logits and snapshots are fresh arrays: they move to the client instead of being copied. */
function transferable(output: unknown): ArrayBuffer[] {
  if (typeof output !== "object" || output === null) return [];
  return Object.values(output).flatMap((value) =>
    ArrayBuffer.isView(value) && value.buffer instanceof ArrayBuffer ? [value.buffer] : [],
  );
}
