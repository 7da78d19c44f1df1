/** What services see of the database: typed requests to the worker thread that owns it. */
import { Worker } from "node:worker_threads";
import { TarnError } from "../contract/errors.ts";
import type { StoreOptions } from "./database.ts";
import type { OperationInput, OperationName, OperationOutput, StoreReply } from "./operations.ts";

export interface Store {
  /**
   * @param given what of the input the caller has no use for any more: handed over instead of copied
   * @throws TarnError `disk-full`, `store`
   */
  run<N extends OperationName>(
    name: N,
    input: OperationInput<N>,
    given?: readonly ArrayBuffer[],
  ): Promise<OperationOutput<N>>;
  /** Finishes what was asked, closes the file and ends the thread. */
  close(): Promise<void>;
}

/** The thread's program: in the sources beside this file, in a build beside the bundle that this file is part of. */
const program = new URL(
  import.meta.url.endsWith(".ts") ? "./store.worker.ts" : "./store.worker.js",
  import.meta.url,
);

interface Waiting {
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: TarnError) => void;
}

/** @throws TarnError `busy` when another program has the file open, `store` when it is newer or damaged, `disk-full` */
export async function openStore(options: StoreOptions): Promise<Store> {
  const worker = new Worker(program, { workerData: options, name: "store" });
  const waiting = new Map<number, Waiting>();
  let nextId = 1;
  let ended: TarnError | null = null;

  const fail = (error: TarnError): void => {
    ended ??= error;
    for (const one of waiting.values()) one.reject(ended);
    waiting.clear();
  };
  const opened = ask(0);
  worker.on("message", (reply: StoreReply) => {
    const one = waiting.get(reply.id);
    waiting.delete(reply.id);
    if (reply.ok) one?.resolve(reply.output);
    else one?.reject(new TarnError(reply.error.code, reply.error.message, reply.error.data));
  });
  worker.on("error", (cause) =>
    fail(
      new TarnError(
        "store",
        `The thread that owns the chats ended (${cause.message}). What was saved is kept; start Tarn again.`,
        {},
        cause,
      ),
    ),
  );
  worker.on("exit", () => fail(new TarnError("store", "The file of chats is closed.")));

  function ask(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (ended === null) waiting.set(id, { resolve, reject });
      else reject(ended);
    });
  }

  async function run<N extends OperationName>(
    name: N,
    input: OperationInput<N>,
    given: readonly ArrayBuffer[] = [],
  ): Promise<OperationOutput<N>> {
    const id = nextId++;
    const answer = ask(id);
    if (ended === null) worker.postMessage({ id, name, input }, [...given]);
    // The worker runs operations[name], whose result this type is derived from.
    return (await answer) as OperationOutput<N>;
  }

  try {
    await opened;
  } catch (cause) {
    await worker.terminate();
    throw cause;
  }
  return {
    run,
    async close() {
      if (ended !== null) return;
      const id = nextId++;
      const answer = ask(id);
      worker.postMessage({ id, name: "close" });
      await answer;
      await worker.terminate();
    },
  };
}
