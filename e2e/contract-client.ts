/** The contract over the browser shell's WebSocket, without a browser. */
import { WebSocket } from "ws";
import type {
  CallInput,
  CallName,
  CallOutput,
  EventData,
  EventName,
} from "../main/contract/contract.ts";
import { API_PATH, decodeServerFrame, encodeFrame } from "../main/contract/frames.ts";

export interface Client {
  call<N extends CallName>(name: N, input: CallInput<N>): Promise<CallOutput<N>>;
  /** Sentences that were told since the connection was made. */
  readonly notices: readonly string[];
  /** Hears every event of this name from now on. */
  on<N extends EventName>(name: N, listener: (data: EventData<N>) => void): void;
  close(): void;
}

/** @param address as the server prints it */
export async function connect(address: string): Promise<Client> {
  const url = new URL(address);
  const socket = new WebSocket(`ws://${url.host}${API_PATH}`, { origin: url.origin });
  const waiting = new Map<number, { resolve(output: unknown): void; reject(error: Error): void }>();
  const notices: string[] = [];
  const listeners: { readonly name: string; hear(data: unknown): void }[] = [];
  let nextId = 1;
  await new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("open", () =>
      socket.send(encodeFrame({ hello: url.searchParams.get("token") ?? "" })),
    );
    socket.on("message", (data: Buffer) => {
      const frame = decodeServerFrame(data);
      if ("welcome" in frame) resolve();
      else if ("event" in frame) {
        if (frame.event === "notice") notices.push(JSON.stringify(frame.data));
        for (const { name, hear } of listeners) if (name === frame.event) hear(frame.data);
      } else if (frame.ok) waiting.get(frame.id)?.resolve(frame.output);
      else waiting.get(frame.id)?.reject(new Error(frame.error.message));
    });
  });
  return {
    call<N extends CallName>(name: N, input: CallInput<N>) {
      const id = nextId++;
      socket.send(encodeFrame({ id, call: name, input }));
      return new Promise<CallOutput<N>>((resolve, reject) =>
        waiting.set(id, { resolve: (output) => resolve(output as CallOutput<N>), reject }),
      );
    },
    notices,
    on<N extends EventName>(name: N, listener: (data: EventData<N>) => void) {
      listeners.push({ name, hear: (data) => listener(data as EventData<N>) });
    },
    close: () => socket.terminate(),
  };
}
