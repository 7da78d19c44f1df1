/** The database's thread: opens the file given in `workerData`, answers one request after the other. */
import type { Database } from "better-sqlite3";
import { parentPort, workerData } from "node:worker_threads";
import { z } from "zod";
import { openDatabase, toStoreError } from "./database.ts";
import {
  operations,
  type OperationInput,
  type OperationName,
  type StoreReply,
  type StoreRequest,
} from "./operations.ts";

const options = z
  .object({ file: z.string(), maxPages: z.number().int().positive().nullable() })
  .parse(workerData);
const loadedSchema = z.object({ bytes: z.instanceof(Uint8Array).nullable() });
const port = parentPort;
if (port === null) throw new Error("store.worker.ts runs only as a worker thread");

const reply = (message: StoreReply, given: readonly ArrayBuffer[] = []): void =>
  port.postMessage(message, [...given]);
const db = tryTo(0, () => openDatabase(options));
if (db === null) port.close();
else {
  port.on("message", (request: StoreRequest) => answer(db, request));
  reply({ id: 0, ok: true, output: null });
}

function answer(database: Database, request: StoreRequest): void {
  if (request.name === "close") {
    tryTo(request.id, () => database.close());
    reply({ id: request.id, ok: true, output: null });
    port?.close();
    return;
  }
  const output = tryTo(request.id, () => ({ value: run(database, request.name, request.input) }));
  if (output === null) return;
  const { value } = output;
  reply({ id: request.id, ok: true, output: value }, buffersOf(request.name, value));
}

/** What is handed over instead of copied: a state has megabytes, made for this answer alone. */
function buffersOf(name: OperationName, output: unknown): ArrayBuffer[] {
  const { bytes } = name === "loadState" ? loadedSchema.parse(output) : { bytes: null };
  return bytes?.buffer instanceof ArrayBuffer ? [bytes.buffer] : [];
}

/** The one place where name and input meet untyped: both come from the typed client of the same program. */
function run<N extends OperationName>(
  database: Database,
  name: N,
  input: OperationInput<N>,
): unknown {
  const operation: (db: Database, input: never) => unknown = operations[name];
  return operation(database, input as never);
}

function tryTo<T>(id: number, work: () => T): T | null {
  try {
    return work();
  } catch (cause) {
    reply({ id, ok: false, error: toStoreError(cause, options.file).toDto() });
    return null;
  }
}
