import type { ThreadPort } from "../../spec/backend.ts";
import { abort, instantiate } from "./module.ts";

/** First message to a thread: all that it needs; from then on it hears only through the shared memory. */
export interface ThreadStart {
  readonly kind: "start";
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly thread: number;
  readonly threads: number;
}

/** What a thread answers. */
export type ThreadReply =
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly message: string };

/** The life of one helping thread. A host's thread entry calls this with the thread's own end of the port. */
export function runWasmThread(port: Pick<ThreadPort, "postMessage" | "onMessage">): void {
  port.onMessage((message) => {
    if (isThreadStart(message)) void serve(port, message);
  });
}

async function serve(port: Pick<ThreadPort, "postMessage">, start: ThreadStart): Promise<void> {
  try {
    const kernels = await instantiate(start.module, start.memory);
    kernels.join(start.thread, start.threads);
    port.postMessage({ kind: "ready" } satisfies ThreadReply);
    kernels.serve();
  } catch (error) {
    abort(start.memory);
    port.postMessage({ kind: "failed", message: String(error) } satisfies ThreadReply);
  }
}

function isThreadStart(message: unknown): message is ThreadStart {
  return (
    typeof message === "object" && message !== null && "kind" in message && message.kind === "start"
  );
}

/** Whether a message is a thread's answer. */
export function isThreadReply(message: unknown): message is ThreadReply {
  return (
    typeof message === "object" &&
    message !== null &&
    "kind" in message &&
    (message.kind === "ready" || message.kind === "failed")
  );
}
