/** The contract over a WebSocket: what the browser shell speaks. Reconnects by itself and says so. */
import type { Api, CallInput, CallName, CallOutput } from "../../main/contract/contract.ts";
import { TarnError } from "../../main/contract/errors.ts";
import {
  API_PATH,
  CLOSE_UNAUTHORIZED,
  decodeServerFrame,
  encodeFrame,
} from "../../main/contract/frames.ts";
import { checkOutput, toTarnError } from "./check.ts";
import { Listeners } from "./listeners.ts";

/** Longest pause between two attempts to reconnect, ms. */
const MAX_BACKOFF_MS = 5000;

export type Connection = "connecting" | "open" | "lost" | "unauthorized";

export interface SocketApi extends Api {
  onConnection(listener: (connection: Connection) => void): () => void;
}

interface Waiting {
  resolve(output: unknown): void;
  reject(error: unknown): void;
}

/** @param token of the printed address */
export function createSocketApi(origin: string, token: string): SocketApi {
  const listeners = new Listeners();
  const connectionListeners = new Set<(connection: Connection) => void>();
  const waiting = new Map<number, Waiting>();
  /** Calls made while there is no connection; sent once there is one. */
  const unsent: Uint8Array<ArrayBuffer>[] = [];
  let connection: Connection = "connecting";
  let socket: WebSocket | null = null;
  let nextId = 1;
  let backoffMs = 250;

  function set(next: Connection): void {
    connection = next;
    for (const listener of connectionListeners) listener(next);
  }

  function receive(bytes: ArrayBuffer): void {
    const frame = decodeServerFrame(new Uint8Array(bytes));
    if ("welcome" in frame) {
      backoffMs = 250;
      set("open");
      for (const call of unsent.splice(0)) socket?.send(call);
    } else if ("event" in frame) {
      listeners.emit(frame.event, frame.data);
    } else {
      const call = waiting.get(frame.id);
      waiting.delete(frame.id);
      if (frame.ok) call?.resolve(frame.output);
      else call?.reject(frame.error);
    }
  }

  function connect(): void {
    const next = new WebSocket(origin.replace(/^http/u, "ws") + API_PATH);
    next.binaryType = "arraybuffer";
    socket = next;
    next.addEventListener("open", () => next.send(encodeFrame({ hello: token })));
    next.addEventListener("message", ({ data }) => {
      if (data instanceof ArrayBuffer) receive(data);
    });
    next.addEventListener("close", ({ code }) => {
      // What was sent may or may not have been done: the caller must know, so it is not sent again.
      for (const call of waiting.values()) {
        call.reject(
          new TarnError(
            "internal",
            "Tarn stopped answering. What you wrote is kept; it goes on when the connection is back.",
          ),
        );
      }
      waiting.clear();
      unsent.length = 0;
      if (code === CLOSE_UNAUTHORIZED) {
        set("unauthorized");
        return;
      }
      set("lost");
      setTimeout(connect, backoffMs);
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    });
  }
  connect();

  return {
    async call<N extends CallName>(name: N, input: CallInput<N>): Promise<CallOutput<N>> {
      const id = nextId++;
      const frame = encodeFrame({ id, call: name, input });
      const answered = new Promise<unknown>((resolve, reject) =>
        waiting.set(id, { resolve, reject }),
      );
      if (connection === "open" && socket !== null) socket.send(frame);
      else unsent.push(frame);
      try {
        return checkOutput(name, await answered);
      } catch (error) {
        throw toTarnError(error);
      }
    },
    on: (name, listener) => listeners.on(name, listener),
    onConnection(listener) {
      connectionListeners.add(listener);
      listener(connection);
      return () => void connectionListeners.delete(listener);
    },
  };
}
