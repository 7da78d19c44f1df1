import type { ThreadPort } from "../../spec/backend.ts";
import { KernelError } from "../../spec/errors.ts";
import { abort } from "./module.ts";
import { isThreadReply, type ThreadStart } from "./thread.ts";

/** The threads besides the calling one. */
export interface Team {
  /** Why a thread failed; null while none has. */
  failure(): string | null;
  terminate(): void;
}

/** A thread that has not got its kernels by then is taken for dead: even a very busy machine starts one in seconds. */
export const START_MILLISECONDS = 60_000;

/**
 * Starts `threads - 1` threads and waits until each has its kernels.
 * @throws KernelError `backend` if one does not start, or is not heard of for START_MILLISECONDS
 */
export async function startThreads(options: {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly threads: number;
  readonly spawnThread: (() => ThreadPort) | undefined;
}): Promise<Team> {
  const { module, memory, threads, spawnThread } = options;
  let failure: string | null = null;
  const ports: ThreadPort[] = [];
  const deadlines: ReturnType<typeof setTimeout>[] = [];
  const start = (thread: number, spawn: () => ThreadPort): Promise<void> =>
    new Promise((resolve, reject) => {
      const port = spawn();
      ports.push(port);
      const fail = (reason: string): void => {
        failure ??= reason;
        abort(memory);
        reject(
          new KernelError("backend", `WASM thread ${thread} of ${threads} does not run: ${reason}`),
        );
      };
      const deadline = setTimeout(
        () => fail(`it was not ready after ${START_MILLISECONDS / 1000} seconds`),
        START_MILLISECONDS,
      );
      deadlines.push(deadline);
      port.onError((error) => fail(error.message));
      port.onMessage((message) => {
        if (!isThreadReply(message)) return;
        if (message.kind === "failed") return fail(message.message);
        clearTimeout(deadline);
        resolve();
      });
      port.postMessage({ kind: "start", module, memory, thread, threads } satisfies ThreadStart);
    });
  const team: Team = {
    failure: () => failure,
    terminate() {
      for (const deadline of deadlines) clearTimeout(deadline);
      for (const port of ports) port.terminate();
    },
  };
  if (spawnThread === undefined) return team;
  try {
    await Promise.all(
      Array.from({ length: threads - 1 }, (_, index) => start(index + 1, spawnThread)),
    );
  } catch (error) {
    team.terminate();
    throw error;
  }
  return team;
}
