import { EventEmitter } from "node:events";
import type * as Electron from "electron";

/** One end of a channel in the main process. The other end is a port like this, until a window takes it. */
export class PortDouble
  extends EventEmitter
  implements Pick<Electron.MessagePortMain, "postMessage" | "start" | "close">
{
  /** Where messages go; set when the peer is known. */
  deliver: (message: unknown) => void = () => undefined;
  private started = false;
  private waiting: unknown[] = [];

  postMessage(message: unknown): void {
    this.deliver(message);
  }

  /** A message that came for this end. As Electron does, it waits for `start`. */
  receive(message: unknown): void {
    if (this.started) this.emit("message", { data: message, ports: [] });
    else this.waiting.push(message);
  }

  start(): void {
    this.started = true;
    const waiting = this.waiting;
    this.waiting = [];
    for (const message of waiting) this.receive(message);
  }

  close(): void {
    this.emit("close");
    this.deliver = () => undefined;
  }
}

export class MessageChannelMain {
  readonly port1 = new PortDouble();
  readonly port2 = new PortDouble();

  constructor() {
    this.port1.deliver = (message) => this.port2.receive(structuredClone(message));
    this.port2.deliver = (message) => this.port1.receive(structuredClone(message));
  }
}
